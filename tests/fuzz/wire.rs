//! The value of a Kafka record, which anybody may have written.

use bytes::Bytes;
use userpipe::encoding::Codec;
use userpipe::record::{Timestamp, With};

use super::{Corpus, INPUT_BYTES_MAX, TIME};

/// A user that was read is written and read again as the same user; a value that is none is refused in words.
fn value(input: &[u8]) {
    let sent_at = Timestamp::saturating_from_unix_ms(1_790_000_000_000);
    for codec in [Codec::default(), Codec::new(true, With::default())] {
        match codec.decode(&Bytes::copy_from_slice(input), sent_at) {
            Ok(user) => {
                let written = codec.encode(&user);
                assert!(!written.contains(&b'\n'), "a record is one line");
                assert_eq!(codec.decode(&written, sent_at).as_ref(), Ok(&user));
                assert_eq!(codec.encode(&codec.decode(&written, sent_at).unwrap()), written);
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}

#[test]
fn wire() {
    let corpus = Corpus::tried("wire", value);
    let check = bolero::check!().with_max_len(INPUT_BYTES_MAX).with_test_time(TIME);
    check.for_each(|chance: &[u8]| corpus.vary(chance, value));
}

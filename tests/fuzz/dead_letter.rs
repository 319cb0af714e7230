//! The headers of a dead letter, which another program may have put there.

use bytes::Bytes;
use userpipe::bus::{Header, Message};
use userpipe::pipeline::deliver::headers;
use userpipe::pipeline::replay::DeadLetter;
use userpipe::record::Timestamp;

use super::{Corpus, INPUT_BYTES_MAX, TIME};

/// Lines of `name=value` (or `name`, for a header without a value).
fn headers_of(input: &[u8]) -> Vec<Header> {
    let line = |line: &[u8]| {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        (name, parts.next().map(Bytes::copy_from_slice))
    };
    input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line).collect()
}

fn message(headers: Vec<Header>) -> Message {
    let timestamp = Timestamp::saturating_from_unix_ms(0);
    Message { partition: 0, offset: 0, timestamp, key: None, value: None, headers }
}

/// What delivery adds comes off again, whatever the record had: a replay has the record's own headers, and one count.
fn letter(input: &[u8]) {
    let own = headers_of(input);
    let now = Timestamp::saturating_from_unix_ms(0);
    // As another program may have left it.
    let foreign = DeadLetter::of(message(own.clone()));
    let sent = foreign.again(now);
    assert!(sent.headers.len() <= own.len() + 1, "a replay adds one header at the most");

    let mut all = own.clone();
    all.extend(headers::ALL.map(|name| (name.to_owned(), Some(Bytes::from_static(b"7")))));
    let ours = DeadLetter::of(message(all));
    let origin = ours.origin.as_ref().unwrap();
    assert_eq!((origin.topic.as_str(), origin.partition, origin.offset), ("7", 7, 7));
    assert_eq!((ours.stage.as_deref(), ours.attempts), (Some("7"), Some(7)));

    // Replayed again and again, it does not grow.
    let mut replayed = ours.again(now).headers;
    for _ in 0..4 {
        let letter = DeadLetter::of(message(replayed.clone()));
        let mut kept: Vec<_> = replayed.clone();
        kept.retain(|(name, _)| name != headers::REPLAYS);
        assert_eq!(kept, own.iter().filter(|(name, _)| name != headers::REPLAYS).cloned().collect::<Vec<_>>());
        let mut back = replayed.clone();
        back.extend(headers::ALL.map(|name| (name.to_owned(), Some(Bytes::from_static(b"7")))));
        let next = DeadLetter::of(message(back));
        assert_eq!(next.replays, letter.replays);
        replayed = next.again(now).headers;
        assert_eq!(replayed.iter().filter(|(name, _)| name == headers::REPLAYS).count(), 1);
        assert_eq!(DeadLetter::of(message(replayed.clone())).replays, letter.replays.saturating_add(1));
    }
}

#[test]
fn dead_letter() {
    let corpus = Corpus::tried("dead_letter", letter);
    let check = bolero::check!().with_max_len(INPUT_BYTES_MAX).with_test_time(TIME);
    check.for_each(|chance: &[u8]| corpus.vary(chance, letter));
}

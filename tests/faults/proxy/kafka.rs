//! Kafka's frames: whose answer is whose, and the broker's address in them.

use super::{Asked, Fate, Mode};

/// The key of the Produce request.
const PRODUCE: [u8; 2] = [0, 0];

/// The host in every address of the broker; its length does not change, nor that of the port behind it.
const HOST: &[u8] = b"127.0.0.1";

/// Size, API key, version, correlation id.
pub(super) fn request(frame: Vec<u8>, asked: &mut Asked) -> Fate {
    if frame.len() >= 12 && frame[4..6] == PRODUCE {
        asked.insert(frame[8..12].try_into().unwrap());
    }
    Fate::Forward(frame)
}

/// Size, correlation id.
pub(super) fn answer(mut frame: Vec<u8>, mode: Mode, asked: &mut Asked, broker: u16, proxy: u16) -> Fate {
    let is_acknowledgement = frame.len() >= 8 && asked.remove(&frame[4..8]);
    if is_acknowledgement && mode == Mode::LoseAcknowledgements {
        return Fate::Close;
    }
    if !is_acknowledgement {
        replace_port(&mut frame, broker, proxy);
    }
    Fate::Forward(frame)
}

/// Answers about metadata and coordinators carry the host as text and then the port as four bytes.
fn replace_port(frame: &mut [u8], broker: u16, proxy: u16) {
    let wanted = [HOST, &u32::from(broker).to_be_bytes()].concat();
    let mut from = 0;
    while let Some(found) = frame[from..].windows(wanted.len()).position(|bytes| bytes == wanted) {
        let port = from + found + HOST.len();
        from = port + 4;
        frame[port..from].copy_from_slice(&u32::from(proxy).to_be_bytes());
    }
}

//! Cassandra's frames of protocol 4, and refusals of writes.

use super::{Asked, Fate, Mode};

/// How a coordinator says no to a write that may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not enough replicas are alive.
    Unavailable,
    /// Not enough replicas answered in time; the write may have happened.
    WriteTimeout,
    /// Too much to do.
    Overloaded,
}

const OPCODE_ERROR: u8 = 0x00;
const OPCODE_STARTUP: u8 = 0x01;
const OPCODE_EXECUTE: u8 = 0x0A;
const OPCODE_BATCH: u8 = 0x0D;
const PROTOCOL_ERROR: i32 = 0x000A;
const LOCAL_QUORUM: [u8; 2] = [0, 6];

/// Version, flags, stream (2), opcode, length (4), body.
pub(super) fn request(frame: Vec<u8>, mode: Mode, asked: &mut Asked) -> Fate {
    let stream = [frame[2], frame[3]];
    let opcode = frame[4];
    if frame[0] > 4 {
        let text = "Invalid or unsupported protocol version (5); supported versions are (3/v3, 4/v4, 5/v5-beta)";
        return Fate::Reply(error(stream, PROTOCOL_ERROR, text, &[]));
    }
    if opcode == OPCODE_STARTUP && frame.windows(3).any(|bytes| bytes == b"lz4") {
        return Fate::Reply(error(stream, PROTOCOL_ERROR, "This instance does not support LZ4 compression", &[]));
    }
    let is_write = opcode == OPCODE_EXECUTE || opcode == OPCODE_BATCH;
    match mode {
        Mode::Refuse(refusal) if is_write => return Fate::Reply(refuse(stream, refusal)),
        Mode::LoseAcknowledgements if is_write => {
            asked.insert([0, 0, stream[0], stream[1]]);
        }
        _ => {}
    }
    Fate::Forward(frame)
}

pub(super) fn answer(frame: Vec<u8>, mode: Mode, asked: &mut Asked) -> Fate {
    let is_of_a_write = asked.remove(&[0, 0, frame[2], frame[3]]);
    if is_of_a_write && mode == Mode::LoseAcknowledgements { Fate::Drop } else { Fate::Forward(frame) }
}

fn refuse(stream: [u8; 2], refusal: Refusal) -> Vec<u8> {
    let counts = |received: i32, required: i32| [received.to_be_bytes(), required.to_be_bytes()].concat();
    match refusal {
        Refusal::Unavailable => {
            let more = [&LOCAL_QUORUM[..], &counts(2, 1)].concat();
            error(stream, 0x1000, "Cannot achieve consistency level LOCAL_QUORUM", &more)
        }
        Refusal::WriteTimeout => {
            let more = [&LOCAL_QUORUM[..], &counts(0, 1), b"\x00\x06SIMPLE"].concat();
            error(stream, 0x1100, "Operation timed out - received only 0 responses.", &more)
        }
        Refusal::Overloaded => error(stream, 0x1001, "Server is in overloaded state", &[]),
    }
}

fn error(stream: [u8; 2], code: i32, text: &str, more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    let body = [&code.to_be_bytes()[..], &length, text.as_bytes(), more].concat();
    let size = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x84, 0, stream[0], stream[1], OPCODE_ERROR][..], &size, &body].concat()
}

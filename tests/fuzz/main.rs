//! Fuzz targets: what comes from outside is read without a panic, and what is read keeps its promises.
//!
//! `cargo test` runs each for a bounded time, from what is in the corpus and from chance; `cargo bolero test --all-features
//! NAME` runs one without a limit, guided by coverage. An input that broke something goes into `tests/fuzz/corpus/NAME`, and
//! is tried first from then on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod config_file;
mod dead_letter;
mod page;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `cargo test` looks for something new, for each target.
const TIME: Duration = Duration::from_secs(3);
/// Bytes of an input; longer ones find nothing else.
const INPUT_BYTES_MAX: usize = 4 * 1024;

/// The inputs of a target that are kept.
struct Corpus(Vec<Vec<u8>>);

impl Corpus {
    /// Those in `tests/fuzz/corpus/NAME`, each of which the target is tried on.
    fn tried(name: &str, target: fn(&[u8])) -> Self {
        let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let inputs: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in &inputs {
            target(input);
        }
        Self(inputs)
    }

    /// Tries a target on what chance has come up with, and on one of the corpus that chance has changed: chance alone
    /// seldom gets past the first brace.
    fn vary(&self, chance: &[u8], target: fn(&[u8])) {
        target(chance);
        target(&mutated(&self.0, chance));
    }
}

/// One of the corpus, changed as these bytes say: each three of them replace, insert, remove, repeat or splice.
fn mutated(corpus: &[Vec<u8>], chance: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = chance.split_first() else { return Vec::new() };
    let mut input = corpus[usize::from(*first) % corpus.len()].clone();
    for step in rest.chunks_exact(3).take(16) {
        let at = (usize::from(step[1]) << 8 | usize::from(step[2])) % (input.len() + 1);
        match step[0] % 6 {
            0 if at < input.len() => input[at] = step[2],
            1 => input.insert(at, step[1]),
            2 if at < input.len() => drop(input.remove(at)),
            3 => input.truncate(at),
            4 => {
                let piece = input[at..(at + usize::from(step[2] % 32)).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = &corpus[usize::from(step[1]) % corpus.len()];
                input.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

//! The configuration file, `userpipe.toml`, which somebody wrote by hand.

use clap::CommandFactory as _;
use userpipe::cli::Cli;
use userpipe::config::File;

use super::{Corpus, INPUT_BYTES_MAX, TIME};

/// A file is applied, or refused in one line that names it.
fn file(input: &[u8]) {
    let path = std::env::temp_dir().join(format!("userpipe-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, input).unwrap();
    let applied = File::load(Some(&path)).and_then(|file| file.unwrap().apply(Cli::command()));
    std::fs::remove_file(&path).unwrap();
    if let Err(error) = applied {
        let text = error.to_string();
        assert_eq!(error.kind().exit_code(), 78, "{text}");
        assert!(!text.contains('\n') && text.contains("userpipe-fuzz"), "{text}");
    }
}

#[test]
fn config_file() {
    let corpus = Corpus::tried("config_file", file);
    let check = bolero::check!().with_max_len(INPUT_BYTES_MAX).with_test_time(TIME);
    check.for_each(|chance: &[u8]| corpus.vary(chance, file));
}

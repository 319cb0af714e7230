//! The token that changes need: given by a file, shown on a terminal, or kept in the data directory.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng as _;

use crate::config::DashboardConfig;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The file below the data directory.
const FILE: &str = "dashboard-token";
/// A token of ours has so many random bytes.
const TOKEN_BYTES: usize = 32;
/// A shorter token can be guessed.
const CHARACTERS_MIN: usize = 16;
/// A file with more is no token's.
const FILE_BYTES_MAX: u64 = 4_096;
/// Another process may be about to write the file that it has made.
const READ_ATTEMPTS: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(25);

/// Where the token is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is of this process alone, and is to be shown on its terminal.
    Terminal,
    /// It is in this file.
    File(PathBuf),
}

/// The token of a process, and where a person finds it.
///
/// # Errors
/// [`Kind::Config`] for a file that holds no token, or that others can read; [`Kind::LocalIo`] where it cannot be kept.
pub fn token(config: &DashboardConfig, has_terminal: bool) -> Result<(Secret, Place)> {
    if let Some(path) = &config.token_file {
        return Ok((read(path)?, Place::File(path.clone())));
    }
    if has_terminal {
        return Ok((Secret::new(drawn()), Place::Terminal));
    }
    let path = config.data_dir.join(FILE);
    Ok((kept(&config.data_dir, &path)?, Place::File(path)))
}

fn drawn() -> String {
    let mut bytes = [0_u8; TOKEN_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The token that is kept, drawn where there is none yet. Whoever creates the file decides.
fn kept(directory: &Path, path: &Path) -> Result<Secret> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::LocalIo, "cannot keep the dashboard's token")
            .at(path.display().to_string())
            .because(e)
            .hint("name a file that holds one with --listen-token-file")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let token = drawn();
            file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(Secret::new(token))
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            for _ in 0..READ_ATTEMPTS {
                if std::fs::metadata(path).map_err(failed)?.len() > 0 {
                    break;
                }
                std::thread::sleep(READ_PAUSE);
            }
            read(path)
        }
        Err(e) => Err(failed(e)),
    }
}

fn read(path: &Path) -> Result<Secret> {
    let bad =
        || Error::new(Kind::Config, "cannot use the file of the dashboard's token").at(path.display().to_string());
    let metadata = std::fs::metadata(path).map_err(|e| bad().because(e))?;
    if metadata.permissions().mode() & 0o004 != 0 {
        return Err(bad()
            .because("every user of this machine can read it")
            .hint(format!("chmod 600 {}", path.display())));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(bad().because(format!("{} bytes; at most {FILE_BYTES_MAX} are read", metadata.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|e| bad().because(e))?;
    let token = text.trim();
    if token.chars().count() < CHARACTERS_MIN || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(bad()
            .because(format!("a token is one word of at least {CHARACTERS_MIN} printable ASCII characters"))
            .hint("openssl rand -hex 32 > FILE; or remove the file, and a new one is made"));
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, token_file: Option<PathBuf>) -> DashboardConfig {
        DashboardConfig {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            hosts: Vec::new(),
            token_file,
            data_dir: directory.join("data"),
            needs_token_to_read: false,
        }
    }

    #[test]
    fn without_a_terminal_it_is_kept_for_its_owner_alone_and_used_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config(directory.path(), None);
        let (first, place) = token(&config, false).expect("a token");
        let Place::File(path) = place else { panic!("it is kept") };
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(first.expose().len(), 2 * TOKEN_BYTES);
        let (second, _) = token(&config, false).expect("a token");
        assert_eq!(first.expose(), second.expose());
        let (shown, place) = token(&config, true).expect("a token");
        assert_eq!(place, Place::Terminal);
        assert_ne!(shown.expose(), first.expose());
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let with = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            token(&config(directory.path(), Some(path.clone())), true).map(|(token, _)| token.expose().to_owned())
        };
        assert_eq!(with("0123456789abcdef\n", 0o600).expect("a token"), "0123456789abcdef");
        assert_eq!(with("0123456789abcdef\n", 0o640).expect("a group may share it"), "0123456789abcdef");
        for (text, mode) in [("short", 0o600), ("", 0o600), ("0123456789 abcdef", 0o600), ("0123456789abcdef", 0o644)] {
            assert_eq!(with(text, mode).expect_err("refused").kind(), Kind::Config, "{text:?} {mode:o}");
        }
    }
}

//! Passwords, from the environment or a file; never from an argument, which every user of the machine can read.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::files::read_at_most;
use crate::secret::Secret;

/// A file larger than this has no password in it.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// The password from `file` if one is named, else from the first of these environment variables that has one.
///
/// A trailing line break of the file is not part of the password.
pub(super) fn password(names: &[&str], file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(path) = file else {
        let set = |name: &&str| std::env::var(name).ok().filter(|password| !password.is_empty());
        return Ok(names.iter().find_map(set).map(Secret::new));
    };
    let failed = || Error::new(Kind::Config, "cannot read the password file").at(path.display().to_string());
    let bytes = read_at_most(path, PASSWORD_BYTES_MAX).map_err(|e| failed().because(e))?;
    // The error would show the bytes.
    let text = String::from_utf8(bytes).map_err(|_| failed().because("it is no UTF-8 text"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(failed().because("it is empty"));
    }
    warn_if_others_can_read(path);
    Ok(Some(Secret::new(password)))
}

pub(super) fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!("every user of this machine can read the secret in {0}; try: chmod 600 {0}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_password_of_a_bounded_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            password(&["USERPIPE_NO_SUCH_VARIABLE"], Some(&path))
        };
        assert_eq!(read(b"hunter2\r\n").expect("read"), Some(Secret::new("hunter2")));
        for (wrong, why) in [
            (b"\n".to_vec(), "it is empty"),
            (vec![b'x'; usize::try_from(PASSWORD_BYTES_MAX).expect("small") + 1], "more than 65536 bytes"),
            (vec![0xff, 0xfe], "it is no UTF-8 text"),
        ] {
            let error = read(&wrong).expect_err(why);
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().ends_with(why), "{error}");
        }
        assert_eq!(password(&["USERPIPE_NO_SUCH_VARIABLE"], None).expect("nothing"), None);
    }
}

//! Passwords, from the environment or a file; never from an argument, which every user of the machine can read.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The password from `file` if one is named, else from the environment variable `name`.
///
/// A trailing line break of the file is not part of the password.
pub(super) fn password(name: &str, file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(path) = file else {
        return Ok(std::env::var(name).ok().filter(|p| !p.is_empty()).map(Secret::new));
    };
    let failed = || Error::new(Kind::Config, "cannot read the password file").at(path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|e| failed().because(e))?;
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

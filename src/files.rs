//! Small files that are read whole, and no more of them than they may have.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads `path`, at most `bytes_max` bytes. What has no size of its own (a pipe, a device) is bounded as well.
///
/// # Errors
/// As the system says it; [`io::ErrorKind::FileTooLarge`] for a larger file.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("five");
        std::fs::write(&path, "12345").expect("written");
        assert_eq!(read_at_most(&path, 5).expect("it fits"), b"12345");
        assert_eq!(read_at_most(&path, 4).expect_err("it does not").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(
            read_at_most(Path::new("/dev/zero"), 4096).expect_err("endless").to_string(),
            "more than 4096 bytes"
        );
    }
}

//! A disk that can be filled.

use std::path::PathBuf;
use std::process::Command;

/// A file system of a few megabytes; unmounted when dropped.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it there.
    pub(super) fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        call(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at));
        Self(at)
    }

    /// Makes it larger.
    pub(super) fn grow(&self, size: &str) {
        call(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0));
    }

    /// Fills it to the last byte: the file to remove.
    pub(super) fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let full = std::io::copy(&mut std::io::repeat(0), &mut std::fs::File::create(&ballast).unwrap()).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a test that failed may still be there. A panic here would hide the first one.
        if !Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

fn call(command: &mut Command) {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "these tests mount a tmpfs, which root may do unless its container forbids it: {said}"
    );
}

//! The data directory: whether it can be written, how much room it has, and whose file is in it.

use std::fs;
use std::io;
use std::path::Path;

use super::Finding;
use crate::config::{BusConfig, Config, LedgerConfig, SinkConfig};
use crate::pipeline::Stores;
use crate::sql::{Sqlite, Tables};

/// Less free space than this is worth a look …
const FREE_BYTES_WARN: u64 = 1024 * 1024 * 1024;

/// … and so is less than this part of the whole.
const FREE_PERCENT_WARN: u64 = 5;

/// With less free space than this, the next few batches fail.
const FREE_BYTES_FAIL: u64 = 16 * 1024 * 1024;

const DIRECTORY: &str = "data directory";
const FILE: &str = "data file";

/// What is found where the configuration uses the file, else nothing.
pub(super) async fn findings(stores: &Stores) -> Vec<Finding> {
    let Some(file) = file(&stores.config) else { return Vec::new() };
    let directory = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = vec![writable(directory)];
    if let Some(existing) = directory.ancestors().map(or_here).find(|d| d.is_dir()) {
        findings.extend(space(existing, directory));
    }
    findings.extend(data_file(&stores.config).await);
    findings
}

/// Whose file it is, where the configuration uses it and it is there.
pub(super) async fn data_file(config: &Config) -> Option<Finding> {
    let file = file(config).filter(|file| file.exists())?;
    Some(tables(file).await)
}

/// The embedded file, where a stage uses it.
fn file(config: &Config) -> Option<&Path> {
    match (&config.bus, &config.ledger, &config.sink) {
        (BusConfig::Embedded(bus), ..) => Some(&bus.path),
        (_, LedgerConfig::Sqlite(path), _) | (.., SinkConfig::Sqlite(path, _)) => Some(path),
        _ => None,
    }
}

/// The ancestors of a relative path end with nothing, which is here.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Tries it: permissions, read-only mounts and quotas all have their own ways to say no.
fn writable(directory: &Path) -> Finding {
    let place = directory.display().to_string();
    let fix = "choose a directory that you may write to with --data-dir, or change its owner or its mount";
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => Finding::fail(DIRECTORY, place, "is no directory", fix),
        Ok(_) => match try_to_write(directory) {
            Ok(()) => Finding::ok(DIRECTORY, place, "can be written"),
            Err(error) => Finding::fail(DIRECTORY, place, format!("cannot be written: {error}"), fix),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match can_be_made(directory) {
            Ok(()) => Finding::ok(DIRECTORY, place, "is not there yet; the first command that needs it makes it"),
            Err(error) => Finding::fail(DIRECTORY, place, format!("cannot be made: {error}"), fix),
        },
        Err(error) => Finding::fail(DIRECTORY, place, format!("cannot be read: {error}"), fix),
    }
}

fn try_to_write(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".userpipe-check-{}", std::process::id()));
    fs::File::create(&probe)?;
    fs::remove_file(probe)
}

/// Whether the nearest directory that is there can be written.
fn can_be_made(directory: &Path) -> io::Result<()> {
    for ancestor in directory.ancestors().skip(1).map(or_here) {
        match fs::metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() => return try_to_write(ancestor),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{} is no directory", ancestor.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The room on the file system of `existing`, which is or will be that of `directory`.
fn space(existing: &Path, directory: &Path) -> Option<Finding> {
    const WHAT: &str = "disk space";
    // A file system that does not tell has none to run out of, as far as anybody can know.
    let told = rustix::fs::statvfs(existing).ok()?;
    let (free, whole) = (told.f_bavail.saturating_mul(told.f_frsize), told.f_blocks.saturating_mul(told.f_frsize));
    let place = directory.display().to_string();
    let found = format!("{} of {} free", bytes(free), bytes(whole));
    let fix = "free some space there, or choose another place with --data-dir; --keep cuts the ledger back";
    Some(if free < FREE_BYTES_FAIL {
        Finding::fail(WHAT, place, found, fix)
    } else if free < FREE_BYTES_WARN || free / FREE_PERCENT_WARN < whole / 100 {
        Finding::warn(WHAT, place, found, fix)
    } else {
        Finding::ok(WHAT, place, found)
    })
}

/// A size as people say it.
fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (size.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

async fn tables(file: &Path) -> Finding {
    let place = file.display().to_string();
    match Sqlite::tables(file).await {
        Ok(Tables::Current) => Finding::ok(FILE, place, "has this version's tables"),
        Ok(Tables::Missing) => Finding::ok(FILE, place, "has no tables of ours yet; the first command makes them"),
        Ok(Tables::Older) => Finding::warn(
            FILE,
            place,
            "has the tables of an older userpipe, which is not looked into",
            "stop the older processes, then 'userpipe init-schema' brings it up to date",
        ),
        Ok(Tables::Newer) => Finding::fail(
            FILE,
            place,
            "was written by a newer userpipe",
            "use that version, or choose another place with --data-dir",
        ),
        Err(error) => Finding::error(FILE, place, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        let kib = 1024;
        for (size, words) in [
            (0, "0.0 KiB"),
            (512, "0.5 KiB"),
            (1_536, "1.5 KiB"),
            (FREE_BYTES_FAIL, "16.0 MiB"),
            (FREE_BYTES_WARN, "1.0 GiB"),
            (5 * kib * kib * kib * kib * kib, "5120.0 TiB"),
        ] {
            assert_eq!(bytes(size), words);
        }
    }
}

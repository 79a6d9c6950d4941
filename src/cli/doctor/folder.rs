//! The data folder: whether it exists, is writable, has free space, is not in use, and has a format this version reads.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{self, Command},
};

use super::Check;
use crate::config::{Config, LogKind};

const WHAT: &str = "data folder";
/// Below this, warn: at 300 bytes per message there is room for about three million.
const FREE_BYTES_WARN: u64 = 1 << 30;
/// The format of the file `meta` that this version reads.
const FORMAT: u64 = 2;
/// Bytes of `meta` and `lock` that are read.
const HEAD_BYTES_MAX: u64 = 4 << 10;

/// Checks the folder, as far as it exists.
pub(super) fn check(config: &Config) -> Vec<Check> {
    if config.log == LogKind::Memory {
        let mend = "fine for experiments; `log = \"file\"` keeps the data";
        return vec![Check::warn(WHAT, "log = \"memory\": everything is lost when the server stops", mend)];
    }
    let data = &config.data;
    let shown = data.display();
    let mut checks = Vec::new();
    let there = match fs::metadata(data) {
        Ok(meta) if !meta.is_dir() => {
            return vec![Check::fail(WHAT, format!("{shown} is not a folder"), "name another with --data")];
        }
        Ok(_) => data.clone(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => existing_parent(data),
        Err(error) => {
            return vec![Check::fail(
                WHAT,
                format!("{shown}: {error}"),
                "fix its permissions, or name another with --data",
            )];
        }
    };
    checks.push(match (try_to_write(&there), there == *data) {
        (Ok(()), true) => Check::ok(WHAT, format!("{shown} is writable")),
        (Ok(()), false) => Check::ok(WHAT, format!("{shown} does not exist yet; the server will create it")),
        (Err(error), _) => {
            let mend =
                format!("give this user write access to {}, or name another folder with --data", there.display());
            Check::fail(WHAT, format!("cannot write in {}: {error}", there.display()), mend)
        }
    });
    checks.push(space(free_bytes(&there), config.segment_bytes));
    checks.extend(in_use(data));
    if config.log == LogKind::File {
        checks.extend(format_of(data));
    }
    checks
}

/// The nearest existing parent folder.
fn existing_parent(path: &Path) -> PathBuf {
    let parent = path.ancestors().skip(1).find(|p| p.is_dir());
    parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".antiphon-doctor-{}", process::id()));
    File::create_new(&path)?;
    fs::remove_file(path)
}

fn space(free: Option<u64>, segment_bytes: u64) -> Check {
    const WHAT: &str = "disk";
    let mend = "free some space, or name a folder on another disk with --data";
    match free {
        None => Check::warn(WHAT, "cannot determine the free space (`df` failed)", "check it yourself"),
        Some(free) if free < segment_bytes => {
            Check::fail(WHAT, format!("{} free: less than one segment", size(free)), mend)
        }
        Some(free) if free < FREE_BYTES_WARN => Check::warn(WHAT, format!("{} free", size(free)), mend),
        Some(free) => Check::ok(WHAT, format!("{} free", size(free))),
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..10_240 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}

/// Asks `df`, the one portable way to know without unsafe code.
fn free_bytes(folder: &Path) -> Option<u64> {
    let out = Command::new("df").arg("-Pk").arg(folder).output().ok().filter(|out| out.status.success())?;
    available(&String::from_utf8_lossy(&out.stdout))
}

/// The fourth column of the second line (POSIX `df -Pk`), in bytes. The first column may contain spaces, so columns
/// are counted from the percentage.
fn available(df: &str) -> Option<u64> {
    let words: Vec<&str> = df.lines().nth(1)?.split_whitespace().collect();
    let percent =
        words.iter().position(|w| w.ends_with('%') && w[..w.len() - 1].bytes().all(|b| b.is_ascii_digit()))?;
    words.get(percent.checked_sub(1)?)?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// Whether a server uses the folder. Takes the lock for a moment and releases it.
fn in_use(folder: &Path) -> Option<Check> {
    let path = folder.join("lock");
    let mut file = File::open(&path).ok()?;
    match file.try_lock() {
        Ok(()) => None,
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _unnamed = file.by_ref().take(HEAD_BYTES_MAX).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                holder => format!("process {holder}"),
            };
            let says = format!("{} is in use by {holder}", folder.display());
            Some(Check::warn("lock", says, "fine if that is your server; a second one needs another --data"))
        }
        Err(TryLockError::Error(error)) => {
            let says = format!("{}: {error}", path.display());
            Some(Check::fail("lock", says, "use a file system that supports file locks, e.g. not an old NFS"))
        }
    }
}

/// What the log in the folder says about itself.
fn format_of(folder: &Path) -> Option<Check> {
    const WHAT: &str = "log";
    let path = folder.join("meta");
    let mut text = String::new();
    let mend = "restore the folder from a copy, or name another with --data";
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        opened => {
            if let Err(error) = opened.and_then(|file| file.take(HEAD_BYTES_MAX).read_to_string(&mut text)) {
                return Some(Check::fail(WHAT, format!("cannot read {}: {error}", path.display()), mend));
            }
        }
    }
    Some(match format_in(&text) {
        Some((format @ 1..=FORMAT, epoch)) => {
            Check::ok(WHAT, format!("format {format}, epoch {}", epoch.unwrap_or("unknown")))
        }
        Some((other, _)) => {
            let says =
                format!("{} holds a log of format {other}; this version reads formats 1 to {FORMAT}", folder.display());
            Check::fail(WHAT, says, "use the version that wrote it, or a newer one")
        }
        None => Check::fail(WHAT, format!("{} is damaged", path.display()), mend),
    })
}

/// Format and current epoch.
fn format_in(meta: &str) -> Option<(u64, Option<&str>)> {
    let mut lines = meta.lines();
    if lines.next() != Some("antiphon log") {
        return None;
    }
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    let epoch = lines.filter_map(|line| line.strip_prefix("epoch ")?.split(' ').next()).next_back();
    Some((format, epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_read_from_df_whatever_the_disk_is_called() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        for (line, free) in [
            ("/dev/sda1 100 40 60 40% /", Some(60 << 10)),
            ("map auto home 100 40 60 40% /a 5% b", Some(60 << 10)),
            ("tmpfs - - - - /x", None),
            ("", None),
        ] {
            assert_eq!(available(&format!("{head}{line}\n")), free, "{line}");
        }
        assert!(free_bytes(Path::new("/")).is_some(), "this machine's own df");
    }

    #[test]
    fn a_log_says_its_format_and_its_current_epoch() {
        let meta = "antiphon log\nformat 1\nepoch 0a from 1\nepoch 0b from 9\ncheck 00000000\n";
        assert_eq!(format_in(meta), Some((1, Some("0b"))));
        assert_eq!(format_in("antiphon log\nformat 2\nnew"), Some((2, None)));
        assert_eq!(format_in("something else\n"), None);
    }
}

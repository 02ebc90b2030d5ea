//! Files and folders of this machine.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, StatxTimestamp,
};

use super::disk::{Disk, Look, Seen};
use super::problem::FileProblem;
use super::stamp::{FileTime, Identity, Stamp};
use super::watches::Watches;

/// The machine's file systems, and the watches on them.
#[derive(Debug)]
pub(super) struct LinuxDisk {
    pub(super) watches: Watches,
}

impl Disk for LinuxDisk {
    fn look(&mut self, path: &Path) -> Look {
        // In this order: what happens in between is told.
        let is_watched = self.watches.follow(path);
        Look {
            seen: statx(CWD, path, AtFlags::empty()).map(|stat| seen(&stat)),
            is_watched,
        }
    }

    fn look_in_folder(&mut self, path: &Path) -> Look {
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            // The folder tells of what happens by this name, not of what happens by other ones.
            Ok(stat) if !has_other_names(&stat) => Look {
                seen: Ok(seen(&stat)),
                is_watched: true,
            },
            _ => self.look(path),
        }
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    fn read(&mut self, path: &Path, at_most: u64) -> Result<(Stamp, Vec<u8>), FileProblem> {
        read(path, at_most)
    }

    fn forget(&mut self, path: &Path) {
        self.watches.forget(path);
    }
}

/// The contents of a regular file of at most so many bytes. It never waits for a writer, nor reads without end.
///
/// ```
/// use std::path::Path;
/// use ipvs_proxier::{FileProblem, read_file};
///
/// assert!(matches!(read_file(Path::new("/dev/zero"), 1 << 20), Err(FileProblem::NotAFile { .. })));
/// assert!(matches!(read_file(Path::new("/etc/passwd"), 1), Err(FileProblem::TooLarge { at_most: 1 })));
/// ```
///
/// # Errors
/// [`FileProblem`] when it cannot be opened or read (with errno), is no regular file, or is larger.
pub fn read_file(path: &Path, at_most: u64) -> Result<Vec<u8>, FileProblem> {
    read(path, at_most).map(|(_, bytes)| bytes)
}

fn read(path: &Path, at_most: u64) -> Result<(Stamp, Vec<u8>), FileProblem> {
    let failed = |operation| move |error: io::Error| FileProblem::io(operation, &error);
    // A FIFO that was put there since the look has no writer, and a terminal does not become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let file = fs::File::from(file.map_err(|error| failed("open")(error.into()))?);
    let before = stamp(&file)?;
    let too_large = FileProblem::TooLarge { at_most };
    if before.length > at_most {
        return Err(too_large);
    }
    let mut bytes = Vec::new();
    let one_more = at_most.saturating_add(1);
    let read = (&file).take(one_more).read_to_end(&mut bytes);
    read.map_err(failed("read"))?;
    if bytes.len() as u64 > at_most {
        return Err(too_large);
    }
    // Where it differs from that of the look, what was read does not count.
    Ok((stamp(&file)?, bytes))
}

fn stamp(file: &fs::File) -> Result<Stamp, FileProblem> {
    let stat = statx(file, Path::new(""), AtFlags::EMPTY_PATH);
    match seen(&stat.map_err(|error| FileProblem::io("read", &error))?) {
        Seen::File(stamp) => Ok(stamp),
        Seen::Folder(_) => Err(FileProblem::NotAFile { kind: "a folder" }),
        Seen::Other(kind) => Err(FileProblem::NotAFile { kind }),
    }
}

fn statx(folder: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Statx> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(folder, path, flags, wanted)?)
}

const fn time(time: StatxTimestamp) -> FileTime {
    FileTime(time.tv_sec, time.tv_nsec)
}

fn seen(stat: &Statx) -> Seen {
    let identity = Identity {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        born: time(stat.stx_btime),
    };
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Seen::File(Stamp {
            identity,
            length: stat.stx_size,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
        }),
        FileType::Directory => Seen::Folder(identity),
        FileType::Fifo => Seen::Other("a FIFO"),
        FileType::Socket => Seen::Other("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Seen::Other("a device"),
        _ => Seen::Other("of an unknown kind"),
    }
}

/// Whether it may be changed by another name than this one: it is a link, has several names, or is mounted here.
fn has_other_names(stat: &Statx) -> bool {
    let is_link = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink;
    is_link || stat.stx_nlink > 1 || stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such files say that they have no bytes.
    #[test]
    fn no_more_is_read_than_the_limit() {
        let watches = Watches::new();
        let mut disk = LinuxDisk { watches };
        let maps = Path::new("/proc/self/maps");
        let (stamp, bytes) = disk.read(maps, 1 << 20).unwrap();
        assert!(stamp.length == 0 && !bytes.is_empty());
        let too_large = FileProblem::TooLarge { at_most: 10 };
        assert_eq!(disk.read(maps, 10), Err(too_large));
    }
}

//! A file system of its own that can be filled, where one can be mounted.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A mounted file system in memory; unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts a file system of this many MiB; `None` if that is not permitted.
    pub fn mount(size: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={size}m");
        let mut mount = Command::new("mount");
        match mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output() {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                eprintln!("no file system can be mounted: {other:?}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it until this many MiB are left.
    pub fn fill(&self, left: u64) {
        let disk = Command::new("df").args(["--output=avail", "-m"]).arg(self.path()).output();
        let text = String::from_utf8(disk.unwrap().stdout).unwrap();
        let free: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        let size = usize::try_from(free.saturating_sub(left) << 20).unwrap();
        std::fs::write(self.path().join("ballast"), vec![0; size]).unwrap();
    }

    /// Fills it to the last page.
    pub fn fill_up(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    /// Removes what filled it.
    pub fn free(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

//! The user that runs ghpulse, and which files it may read, by their owner, group and permissions.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::private;

/// Permission to read a file or to enter a directory, for others; for the group and the owner it
/// is 3 and 6 bits further left.
const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// The user that runs ghpulse.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    /// Its name, or its number if this machine has no name for it.
    pub(super) user: String,
    /// The name of its primary group, or the number.
    group: String,
    uid: u32,
    /// Its groups, of which the first is its own.
    groups: Vec<u32>,
}

impl Runner {
    /// The user of this process, or, when that is root, the owner of the data directory. `None`
    /// when root owns that too, or it does not exist: the service may have a user all the same.
    pub(super) fn of(data: &Path) -> Option<Self> {
        let users = LocalUsers::read();
        if !private::is_root() {
            let (uid, groups) = private::user_and_groups();
            return Some(users.runner(uid, groups));
        }
        let about = std::fs::metadata(data).ok().filter(|about| about.uid() != 0)?;
        let uid = about.uid();
        let gid = users.group_of(uid).unwrap_or_else(|| about.gid());
        Some(users.runner(uid, [gid].into_iter().chain(users.groups_of(uid)).collect()))
    }

    /// By how many bits to shift a mode right for the permissions that apply to this user: those
    /// of the first that fits of owner, group, others.
    fn shift(&self, about: &Metadata) -> u32 {
        if about.uid() == self.uid {
            6
        } else if self.groups.contains(&about.gid()) {
            3
        } else {
            0
        }
    }

    /// Whether it may do this with a file.
    fn may(&self, about: &Metadata, wanted: u32) -> bool {
        self.uid == 0 || (about.mode() >> self.shift(about)) & wanted != 0
    }

    /// How to let it read a file; `None` when it may read it, or nothing is known.
    pub(super) fn how_to_allow(&self, path: &Path) -> Option<String> {
        let path = path.canonicalize().ok()?;
        let closed = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let closed: Vec<&Path> = closed
            .filter(|above| above.metadata().is_ok_and(|about| !self.may(&about, ENTER)))
            .collect();
        if let Some(topmost) = closed.last() {
            let dir = topmost.display();
            return Some(format!(
                "{dir} is closed to it: move the file to where it may enter, such as /etc/ghpulse"
            ));
        }
        let about = path.metadata().ok()?;
        (!self.may(&about, READ)).then(|| to_group(&self.group, &path))
    }
}

/// How to keep others from reading a file, but not the user that runs ghpulse.
pub(super) fn how_to_hide(path: &Path, runner: Option<&Runner>) -> String {
    let Some(runner) = runner else {
        let (group, cure) = ("GROUP", "GROUP being that of the user that runs ghpulse");
        return format!("{}, {cure}", to_group(group, path));
    };
    // `chmod o=` would keep it out.
    let needs_group = |about: Metadata| runner.shift(&about) == 0 || !runner.may(&about, READ);
    if path.metadata().is_ok_and(needs_group) {
        to_group(&runner.group, path)
    } else {
        format!("chmod o= {}", path.display())
    }
}

fn to_group(group: &str, path: &Path) -> String {
    let path = path.display();
    format!("chgrp {group} {path} && chmod 640 {path}")
}

/// Whether every user of this machine may read a file.
pub(super) fn is_readable_by_others(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let has = |path: &Path, bit| path.metadata().is_ok_and(|about| about.mode() & bit != 0);
    has(&path, READ) && path.ancestors().skip(1).all(|above| has(above, ENTER))
}

/// The names and groups of local users.
#[derive(Debug, Default)]
struct LocalUsers {
    /// The lines of `/etc/passwd`.
    users: String,
    /// The lines of `/etc/group`.
    groups: String,
}

impl LocalUsers {
    fn read() -> Self {
        let text = |path| std::fs::read_to_string(PathBuf::from(path)).unwrap_or_default();
        Self { users: text("/etc/passwd"), groups: text("/etc/group") }
    }

    /// A user and its groups, of which the first is its own.
    fn runner(&self, uid: u32, groups: Vec<u32>) -> Runner {
        let name = |lines, id: u32| name_of(lines, id).unwrap_or_else(|| id.to_string());
        let own = groups.first().map(|gid| name(&self.groups, *gid)).unwrap_or_default();
        Runner { user: name(&self.users, uid), group: own, uid, groups }
    }

    /// A user's own group.
    fn group_of(&self, uid: u32) -> Option<u32> {
        let mut lines = fields(&self.users);
        lines.find(|line| number(line, 2) == Some(uid)).and_then(|line| number(&line, 3))
    }

    /// The groups that list a user.
    fn groups_of(&self, uid: u32) -> impl Iterator<Item = u32> {
        let user = name_of(&self.users, uid);
        fields(&self.groups).filter_map(move |line| {
            let mut members = line.get(3)?.split(',');
            members.any(|member| Some(member) == user.as_deref()).then(|| number(&line, 2))?
        })
    }
}

/// The name in the line of this number.
fn name_of(lines: &str, id: u32) -> Option<String> {
    let line = fields(lines).find(|line| number(line, 2) == Some(id))?;
    line.first().map(|name| (*name).to_owned())
}

fn fields(lines: &str) -> impl Iterator<Item = Vec<&str>> {
    lines.lines().map(|line| line.split(':').collect())
}

fn number(line: &[&str], at: usize) -> Option<u32> {
    line.get(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn local_users() -> LocalUsers {
        let users = "root:x:0:0::/:/bin/sh\nghpulse:x:901:902::/:/bin/false\n".to_owned();
        let groups = "root:x:0:\nwheel:x:10:ann,ghpulse\nghpulse:x:902:\n".to_owned();
        LocalUsers { users, groups }
    }

    #[test]
    fn users_have_names_and_groups() {
        let users = local_users();
        assert_eq!(users.group_of(901), Some(902));
        assert_eq!(users.groups_of(901).collect::<Vec<_>>(), [10]);
        let runner = users.runner(901, vec![902]);
        assert_eq!((runner.user.as_str(), runner.group.as_str()), ("ghpulse", "ghpulse"));
        assert_eq!(users.runner(5, vec![6]).group, "6");
        assert_eq!((users.group_of(5), users.groups_of(5).count()), (None, 0));
    }

    #[test]
    fn readable_by_others_needs_every_directory_open() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, "x").unwrap();
        set(&file, 0o644);
        set(dir.path(), 0o700);
        assert!(!is_readable_by_others(&file));
        set(dir.path(), 0o755);
        assert!(is_readable_by_others(&file));
        set(&file, 0o640);
        assert!(!is_readable_by_others(&file));
    }

    #[test]
    fn remedy_keeps_a_secret_readable_for_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, "x").unwrap();
        set(dir.path(), 0o755);
        set(&file, 0o644);
        let about = file.metadata().unwrap();
        let shown = file.display();
        let (closed, given) =
            (format!("chmod o= {shown}"), format!("chgrp ghpulse {shown} && chmod 640 {shown}"));
        let stranger = local_users().runner(901, vec![902, 10]);
        let owner = Runner { uid: about.uid(), ..stranger.clone() };
        let member = Runner { groups: vec![about.gid()], ..stranger.clone() };
        assert_eq!(how_to_hide(&file, Some(&owner)), closed);
        assert_eq!(how_to_hide(&file, Some(&member)), closed);
        assert_eq!(how_to_hide(&file, Some(&stranger)), given);
        assert!(
            how_to_hide(&file, None).contains("chgrp GROUP ")
                && stranger.how_to_allow(&file).is_none()
        );
        set(&file, 0o604);
        assert_eq!(how_to_hide(&file, Some(&member)), given);
        set(&file, 0o640);
        assert_eq!(stranger.how_to_allow(&file), Some(given));
        assert!(owner.how_to_allow(&file).is_none() && member.how_to_allow(&file).is_none());
        set(dir.path(), 0o700);
        let dir = dir.path().canonicalize().unwrap().display().to_string();
        let entering = format!("{dir} is closed to it: move the file to where it may enter");
        assert!(stranger.how_to_allow(&file).is_some_and(|words| words.starts_with(&entering)));
    }
}

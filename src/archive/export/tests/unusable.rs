//! Existing files that cannot be extended.

use super::*;

/// What replaces the file of an hour.
fn damage(path: &Path, how: &str) {
    let whole = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    match how {
        "cut off" => std::fs::write(path, &whole[..whole.len() - 9]).unwrap(),
        "no gzip inside" => {
            let mut bytes = whole;
            bytes[12..20].fill(0xff);
            std::fs::write(path, bytes).unwrap();
        }
        "a directory" => std::fs::create_dir(path).unwrap(),
        "a link" => std::os::unix::fs::symlink("/etc/hostname", path).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn file_that_cannot_be_read_stops_no_other_hour() {
    for how in ["cut off", "no gzip inside", "a directory", "a link"] {
        let site = Site::new();
        site.journal("2026-02-03T09:59:00Z", &[]).await;
        site.journal("2026-02-03T11:30:00Z", &[(1, "10:29:00"), (2, "11:01:00")]).await;
        let target = site.target();
        let at = |until| pass(&site.store, hour(until), &target);
        let kept = at("12:00:00").await.unwrap();
        assert!(kept.unusable.is_none(), "{how}");
        let names = ["2026-02-03-10.json.gz", "2026-02-03-11.json.gz"];
        assert_eq!(site.names(), names);
        let path = site.to().join(names[0]);
        let whole = std::fs::read(&path).unwrap();
        damage(&path, how);
        let late = [(3, "10:30:00"), (4, "11:02:00"), (5, "12:01:00")];
        site.journal("2026-02-03T12:05:00Z", &late).await;
        let passed = at("13:00:00").await.unwrap();
        assert!(passed.unusable.is_some_and(|error| error.to_string().contains(names[0])), "{how}");
        assert_eq!(site.ids(names[1]), [2, 4], "{how}");
        assert_eq!(site.ids("2026-02-03-12.json.gz"), [5], "{how}");
        // Once it is repaired, its late events are added.
        let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
        std::fs::write(&path, whole).unwrap();
        assert!(at("14:00:00").await.unwrap().unusable.is_none(), "{how}");
        assert_eq!(site.ids(names[0]), [1, 3], "{how}");
        assert_eq!(site.ids(names[1]), [2, 4], "{how}");
    }
}

#[tokio::test]
async fn copy_that_fails_is_removed() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    let path = site.to().join("2026-02-03-10.json.gz");
    let mut file = PartialFile::open(&site.target(), hour("10:00:00")).unwrap();
    assert!(file.is_there());
    std::fs::remove_file(&path).unwrap();
    let new = event(2, "10:30:00");
    file.add(&Event::read(&new).unwrap()).unwrap_err();
    let part = site.to().join(".2026-02-03-10.json.gz.part");
    assert!(!part.exists());
}

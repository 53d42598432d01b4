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
        let at = async |until, unusable: &[&str]| {
            let unusable = unusable.iter().map(|at| hour(at)).collect();
            let unusable =
                pass(&site.store, hour(until), &target, &unusable).await.unwrap().unusable;
            unusable.into_values().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(at("12:00:00", &[]).await, [""; 0], "{how}");
        let names = ["2026-02-03-10.json.gz", "2026-02-03-11.json.gz"];
        assert_eq!(site.names(), names);
        let path = site.to().join(names[0]);
        let whole = std::fs::read(&path).unwrap();
        damage(&path, how);
        let late = [(3, "10:30:00"), (4, "11:02:00"), (5, "12:01:00")];
        site.journal("2026-02-03T12:05:00Z", &late).await;
        let failed = at("13:00:00", &[]).await;
        assert!(failed.len() == 1 && failed[0].contains(names[0]), "{how}: {failed:?}");
        assert!(!failed[0].contains("download"), "{how}: {failed:?}");
        assert_eq!(site.ids(names[1]), [2, 4], "{how}");
        assert_eq!(site.ids("2026-02-03-12.json.gz"), [5], "{how}");
        // It is named until it is repaired, and the others are not read again.
        std::fs::remove_file(site.to().join(names[1])).unwrap();
        assert_eq!(at("14:00:00", &["10:00:00"]).await, failed, "{how}");
        assert!(!site.to().join(names[1]).exists(), "{how}");
        let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
        std::fs::write(&path, whole).unwrap();
        assert_eq!(at("15:00:00", &["10:00:00"]).await, [""; 0], "{how}");
        assert_eq!(site.ids(names[0]), [1], "{how}");
        export(&site.store, hour("10:00:00"), hour("11:00:00"), &target).unwrap();
        assert_eq!(site.ids(names[0]), [1, 3], "{how}");
    }
}

#[tokio::test]
async fn columns_that_cannot_be_written_stop_no_other_hour() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T11:30:00Z", &[(1, "10:29:00"), (2, "11:01:00")]).await;
    let to = ArchiveTarget { format: HourFormat::Both, ..site.target() };
    std::fs::create_dir_all(site.to().join("2026-02-03-10.parquet/in the way")).unwrap();
    let passed = pass(&site.store, hour("12:00:00"), &to, &BTreeSet::new()).await.unwrap();
    assert_eq!(passed.unusable.into_keys().collect::<Vec<_>>(), [hour("10:00:00")]);
    assert!(site.to().join("2026-02-03-11.parquet").is_file());
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

#[tokio::test]
async fn a_file_of_lists_does_not_stop_the_archive() {
    let site = Site::new();
    let settled = |at: &str| settled_until(Timestamp::parse(at).unwrap());
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "11:01:00")]).await;
    let lists = site.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("anns.txt"), "@ann").unwrap();
    let terms = [Lists::open(&lists).term("anns").unwrap()];
    let of_lists = ArchiveTarget { lists: ListSet::new(&terms), ..site.target() };
    std::fs::create_dir(site.to()).unwrap();
    // What is beside the file cannot be written: the file does not get its name either.
    let hindrance = site.to().join(".2026-02-03-10.coverage.json.part");
    std::fs::create_dir_all(hindrance.join("in the way")).unwrap();
    let range = (hour("10:00:00"), hour("11:00:00"));
    export(&site.store, range.0, range.1, &of_lists).unwrap_err();
    assert!(!site.to().join("2026-02-03-10.json.gz").exists());
    std::fs::remove_dir_all(&hindrance).unwrap();
    export(&site.store, range.0, range.1, &of_lists).unwrap();
    let written = site.ids("2026-02-03-10.json.gz");
    assert_eq!(written, [1]);

    // The stage leaves that hour as it is, and writes the others.
    let passed =
        pass(&site.store, settled("2026-02-03T12:10:00Z"), &site.target(), &BTreeSet::new())
            .await
            .unwrap();
    assert_eq!(passed.hours.len(), 1, "{:?}", passed.hours);
    assert_eq!(site.names(), ["2026-02-03-10.json.gz", "2026-02-03-11.json.gz"]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), written);

    // An appliance of an earlier version writes nothing beside its files.
    let from = site.dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    let all = ArchiveTarget { dir: from.clone(), lists: ListSet::default(), ..site.target() };
    let exported = export(&site.store, range.0, range.1, &all).unwrap();
    std::fs::remove_file(from.join("2026-02-03-10.coverage.json")).unwrap();
    let to = ArchiveTarget { dir: site.dir.path().join("delivered"), ..of_lists };
    super::super::super::deliver(exported, &from, &to).unwrap();
    let beside = std::fs::read_to_string(to.dir.join("2026-02-03-10.coverage.json")).unwrap();
    assert!(beside.contains("\"lists\":[\"anns\"]"), "{beside}");
}

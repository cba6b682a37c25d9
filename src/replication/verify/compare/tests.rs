use super::*;
use crate::{domain::Incarnation, replication::verify::inventory::Manifest, storage::Checksum};

/// A file whose bytes are `text`.
fn object(text: &str) -> Object {
    Object {
        size: text.len() as u64,
        checksum: Some(Checksum::of(text.as_bytes())),
    }
}

/// Versions, each with a manifest that says when it was committed.
fn inventory(versions: &[(u64, u128)], files: &[(&str, &str)]) -> Inventory {
    let manifests = versions.iter().map(|(version, nanos)| {
        let manifest = Manifest {
            file: format!("_versions/{version}.manifest"),
            object: object(&format!("version {version} of {nanos}")),
        };
        (*version, manifest)
    });
    Inventory {
        manifests: manifests.collect(),
        files: files
            .iter()
            .map(|(f, t)| ((*f).into(), object(t)))
            .collect(),
        committed: versions
            .first()
            .zip(versions.last())
            .map(|((_, a), (_, b))| (*a, *b)),
        incarnation: None,
    }
}

const FILES: [(&str, &str); 4] = [
    ("data/a.lance", "aaaa"),
    ("data/b.lance", "bbb"),
    ("data/c.lance", "cc"),
    ("_indices/i/index.idx", "index"),
];

/// Versions 3 to 6 of a table that gets a file with each of the first.
fn source() -> Source {
    let names = |n: usize| FILES.iter().take(n).map(|(f, _)| (*f).to_owned()).collect();
    Source {
        inventory: inventory(&[(3, 30), (4, 40), (5, 50), (6, 60)], &FILES),
        contents: (3..=6).map(|v| (v, names(v as usize - 2))).collect(),
    }
}

/// A true copy of the versions 4 and 5.
fn copy() -> Inventory {
    inventory(&[(4, 40), (5, 50)], &FILES[..3])
}

fn found(source: &Source, copy: &Inventory) -> Vec<(Kind, String, String)> {
    let findings = compare(("replica-1", "t"), source, copy).findings;
    let found = findings.into_iter().map(|f| {
        assert_eq!(
            (f.connection.as_str(), f.table.as_str()),
            ("replica-1", "t")
        );
        (f.kind, f.versions.to_string(), f.file)
    });
    found.collect()
}

fn lag() -> Vec<(Kind, String, String)> {
    vec![
        (Kind::Behind, "6".into(), String::new()),
        (Kind::Skipped, "3".into(), String::new()),
    ]
}

#[test]
fn a_true_copy_is_only_behind() {
    let comparison = compare(("replica-1", "t"), &source(), &copy());
    assert_eq!(found(&source(), &copy()), lag());
    let manifests = 2 * "version 4 of 40".len() as u64;
    let expected = Comparison {
        findings: comparison.findings.clone(),
        files: 5,
        bytes: manifests + 9,
        checked_bytes: manifests + 9,
    };
    assert_eq!(comparison, expected);
}

#[test]
fn each_kind_of_damage_names_its_file() {
    let damage: [(&str, Option<Object>, Kind, &str); 4] = [
        ("data/a.lance", None, Kind::Missing, "4-5"),
        ("data/b.lance", Some(object("bb")), Kind::Size, "4-5"),
        ("data/c.lance", Some(object("cC")), Kind::Content, "5"),
        ("data/c.lance", Some(object("ccc")), Kind::Size, "5"),
    ];
    for (file, becomes, kind, versions) in damage {
        let mut copy = copy();
        match becomes {
            Some(object) => copy.files.insert(file.into(), object),
            None => copy.files.remove(file),
        };
        let mut expected = lag();
        expected.push((kind, versions.into(), file.into()));
        assert_eq!(found(&source(), &copy), expected);
    }
}

#[test]
fn without_checksums_only_sizes_are_compared() {
    let mut copy = copy();
    let other = Object {
        checksum: None,
        ..object("xxxx")
    };
    copy.files.insert("data/a.lance".into(), other);
    assert_eq!(found(&source(), &copy), lag());
    let comparison = compare(("r", "t"), &source(), &copy);
    assert_eq!(comparison.checked_bytes, comparison.bytes - 4);
}

#[test]
fn files_of_no_common_version_do_not_matter() {
    let mut copy = copy();
    copy.files
        .insert("_indices/i/index.idx".into(), object("?"));
    copy.files
        .insert("data/z.lance".into(), object("left over"));
    assert_eq!(found(&source(), &copy), lag());
}

#[test]
fn a_file_too_many_in_an_index_is_found() {
    let mut copy = inventory(&[(6, 60)], &FILES);
    copy.files.insert("_indices/i/more.idx".into(), object("?"));
    let kinds: Vec<Kind> = found(&source(), &copy).into_iter().map(|f| f.0).collect();
    assert_eq!(kinds, [Kind::Skipped, Kind::Extra]);
}

#[test]
fn another_manifest_is_found_and_its_files_are_left() {
    let mut copy = copy();
    let manifest = copy.manifests.get_mut(&5).unwrap();
    manifest.object = object("version 5 of somebody else");
    copy.files.remove("data/c.lance");
    let mut expected = lag();
    let file = "_versions/5.manifest".to_owned();
    expected.insert(0, (Kind::Manifest, "5".into(), file));
    assert_eq!(found(&source(), &copy), expected);
}

#[test]
fn versions_that_the_primary_lacks_are_pruned_or_too_new() {
    let copy = inventory(&[(1, 10), (2, 20), (6, 60), (7, 70)], &FILES);
    let expected = [
        (Kind::Ahead, "7".into(), String::new()),
        (Kind::Pruned, "1-2".into(), String::new()),
        (Kind::Skipped, "3-5".into(), String::new()),
    ];
    assert_eq!(found(&source(), &copy), expected);
}

#[test]
fn an_earlier_table_is_lag_and_not_damage() {
    let earlier = inventory(&[(5, 11), (6, 12), (9, 15)], &[]);
    let expected = [(Kind::Recreated, "5-6, 9".to_owned(), String::new())];
    assert_eq!(found(&source(), &earlier), expected);
    // One that went on by itself after the primary's began is not earlier.
    let parted = inventory(&[(5, 11), (6, 12), (9, 65)], &[]);
    let kinds: Vec<Kind> = found(&source(), &parted).into_iter().map(|f| f.0).collect();
    assert_eq!(
        kinds,
        [Kind::Manifest, Kind::Manifest, Kind::Ahead, Kind::Skipped]
    );
}

#[test]
fn what_is_written_down_decides_which_table_it_is() {
    let (mut source, mut copy) = (source(), copy());
    source.inventory.incarnation = Some(Incarnation::fresh());
    copy.incarnation = source.inventory.incarnation;
    assert_eq!(found(&source, &copy), lag());
    // Other bytes of the same table are damage, whenever they were committed.
    let mut earlier = inventory(&[(5, 11)], &[]);
    earlier.incarnation = source.inventory.incarnation;
    let kinds: Vec<Kind> = found(&source, &earlier).into_iter().map(|f| f.0).collect();
    assert_eq!(kinds, [Kind::Manifest, Kind::Behind, Kind::Skipped]);
    // Of another one they are not.
    copy.incarnation = Some(Incarnation::fresh());
    let expected = [(Kind::Recreated, "4-5".to_owned(), String::new())];
    assert_eq!(found(&source, &copy), expected);
}

#[test]
fn tags_that_are_not_the_primarys_are_lag() {
    let (mut source, mut copy) = (source(), copy());
    for (name, ours, theirs) in [
        ("_refs/tags/same.json", Some("4"), Some("4")),
        ("_refs/tags/moved.json", Some("5"), Some("4")),
        ("_refs/tags/new.json", Some("5"), None),
        ("_refs/tags/old.json", None, Some("4")),
    ] {
        let files = &mut source.inventory.files;
        files.extend(ours.map(|text| (name.to_owned(), object(text))));
        copy.files
            .extend(theirs.map(|text| (name.to_owned(), object(text))));
    }
    let mut expected = lag();
    for name in ["moved", "new", "old"] {
        let file = format!("_refs/tags/{name}.json");
        expected.push((Kind::Tag, String::new(), file));
    }
    assert_eq!(found(&source, &copy), expected);
}

#[test]
fn a_replica_without_the_table_is_behind() {
    let expected = [(Kind::NoTable, "3-6".to_owned(), String::new())];
    assert_eq!(found(&source(), &Inventory::default()), expected);
}

#[test]
fn what_the_primary_lacks_is_its_own_damage() {
    let mut source = source();
    source.inventory.files.remove("data/a.lance");
    assert_eq!(found(&source, &copy()), lag());
    let damage = damage(("primary", "t"), &source);
    let [finding] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    assert_eq!(finding.kind, Kind::Missing);
    assert_eq!(finding.connection, "primary");
    assert_eq!(finding.file, "data/a.lance");
    assert_eq!(finding.versions.to_string(), "3-6");
}

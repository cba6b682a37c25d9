//! The comparison itself: a pure function of what two locations hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    inventory::{Inventory, Object, Source},
    report::{Finding, Kind, Versions},
};

/// What is compared, and what came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub findings: Vec<Finding>,
    /// Files of the versions that both have, manifests included.
    pub files: u64,
    /// Their bytes at the primary.
    pub bytes: u64,
    /// Of those, bytes whose checksums are known on both sides.
    pub checked_bytes: u64,
}

/// Versions that both have.
pub(super) fn common(source: &Source, copy: &Inventory) -> Vec<u64> {
    let theirs = copy.manifests.keys().copied();
    theirs
        .filter(|v| source.inventory.manifests.contains_key(v))
        .collect()
}

/// Versions that both have, with manifests of the same bytes: so also with files
/// of the same names.
pub(super) fn same(source: &Source, copy: &Inventory) -> Vec<u64> {
    let same = |version: &u64| {
        let ours = source.inventory.manifests.get(version)?.object.checksum?;
        let theirs = copy.manifests.get(version)?.object.checksum?;
        (ours == theirs).then_some(())
    };
    let mut versions = common(source, copy);
    versions.retain(|version| same(version).is_some());
    versions
}

/// The files that these versions are made of, each with the versions it is in.
pub(super) fn files_of<'a>(source: &'a Source, versions: &[u64]) -> BTreeMap<&'a str, Vec<u64>> {
    let mut files: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for version in versions {
        for file in source.contents.get(version).into_iter().flatten() {
            files.entry(file).or_default().push(*version);
        }
    }
    files
}

/// Whether the replica's versions are of another creation of the table. Where
/// that is not written down: whether its newest was committed before the oldest
/// that the primary has, although they are not the same.
fn is_recreated(source: &Source, copy: &Inventory, is_true_so_far: bool) -> bool {
    match copy.is_same_table(&source.inventory) {
        Some(same) => !same,
        None => match (source.inventory.committed, copy.committed) {
            (Some((oldest, _)), Some((_, newest))) => !is_true_so_far && newest < oldest,
            _ => false,
        },
    }
}

/// Compares one table of a replica with the primary's. What has no checksum is
/// compared by its size.
pub(super) fn compare(place: (&str, &str), source: &Source, copy: &Inventory) -> Comparison {
    let mut found = Found::new(place);
    if !compare_versions(&mut found, source, copy) {
        return Comparison {
            findings: found.findings,
            ..Comparison::default()
        };
    }
    let same = same(source, copy);
    let files = files_of(source, &same);
    for (file, versions) in &files {
        compare_file(&mut found, source, copy, file, versions);
    }
    compare_tags(&mut found, source, copy);
    for file in extra(&files, copy) {
        let detail = "the primary's index does not have this file";
        found.add(Kind::Extra, [], file, detail);
    }
    let mut result = Comparison {
        findings: found.findings,
        ..Comparison::default()
    };
    count(&mut result, source, copy, &same, &files);
    result
}

/// Findings of one table at one connection.
struct Found<'a> {
    connection: &'a str,
    table: &'a str,
    findings: Vec<Finding>,
}

impl<'a> Found<'a> {
    fn new((connection, table): (&'a str, &'a str)) -> Self {
        Self {
            connection,
            table,
            findings: Vec::new(),
        }
    }

    fn add(
        &mut self,
        kind: Kind,
        versions: impl IntoIterator<Item = u64>,
        file: &str,
        detail: impl Into<String>,
    ) {
        self.findings.push(Finding {
            kind,
            connection: self.connection.to_owned(),
            table: self.table.to_owned(),
            versions: Versions(versions.into_iter().collect()),
            file: file.to_owned(),
            detail: detail.into(),
        });
    }
}

/// Compares which versions there are, and their manifests. Answers whether there
/// are versions whose files can be compared.
fn compare_versions(found: &mut Found<'_>, source: &Source, copy: &Inventory) -> bool {
    let (ours, theirs) = (&source.inventory.manifests, &copy.manifests);
    let newest_here = ours.keys().next_back().copied().unwrap_or(0);
    let Some(newest_there) = theirs.keys().next_back().copied() else {
        let detail = "the replica does not have the table";
        found.add(Kind::NoTable, ours.keys().copied(), "", detail);
        return false;
    };
    let (common, same) = (common(source, copy), same(source, copy));
    let unknown = theirs.keys().copied().filter(|v| !ours.contains_key(v));
    let (ahead, pruned): (Vec<u64>, Vec<u64>) = unknown.partition(|v| *v > newest_here);
    let is_true_so_far = common.len() == same.len() && ahead.is_empty();
    if is_recreated(source, copy, is_true_so_far) {
        let detail = "the replica has an earlier table of that name";
        found.add(Kind::Recreated, theirs.keys().copied(), "", detail);
        return false;
    }
    for version in common.into_iter().filter(|v| !same.contains(v)) {
        if let (Some(our), Some(their)) = (ours.get(&version), theirs.get(&version)) {
            let detail = another(&their.object, &our.object);
            let detail = format!("{detail}; the version's files are not compared");
            found.add(Kind::Manifest, [version], &their.file, detail);
        }
    }
    if !ahead.is_empty() {
        let detail = "the primary's newest version is an older one";
        found.add(Kind::Ahead, ahead, "", detail);
    }
    if !pruned.is_empty() {
        let detail = "the primary does not have these versions any more";
        found.add(Kind::Pruned, pruned, "", detail);
    }
    let lacking = ours.keys().copied().filter(|v| !theirs.contains_key(v));
    let (behind, skipped): (Vec<u64>, Vec<u64>) = lacking.partition(|v| *v > newest_there);
    for (kind, versions, word) in [
        (Kind::Behind, behind, "newer"),
        (Kind::Skipped, skipped, "older"),
    ] {
        if !versions.is_empty() {
            let detail = format!("{word} than what the replica has: {}", versions.len());
            found.add(kind, versions, "", detail);
        }
    }
    !same.is_empty()
}

fn compare_file(
    found: &mut Found<'_>,
    source: &Source,
    copy: &Inventory,
    file: &str,
    versions: &[u64],
) {
    // What the primary lacks itself is found once, not for each replica.
    let Some(our) = source.inventory.files.get(file) else {
        return;
    };
    let versions = versions.iter().copied();
    let Some(their) = copy.files.get(file) else {
        found.add(Kind::Missing, versions, file, "");
        return;
    };
    if their.size != our.size {
        found.add(Kind::Size, versions, file, another(their, our));
    } else if let (Some(a), Some(b)) = (our.checksum, their.checksum)
        && a != b
    {
        found.add(Kind::Content, versions, file, another(their, our));
    }
}

/// Tags change and are copied after the versions that they name, so that one
/// that is not the primary's is lag. Without checksums only names are compared.
fn compare_tags(found: &mut Found<'_>, source: &Source, copy: &Inventory) {
    let (ours, theirs) = (&source.inventory, copy);
    let names: BTreeSet<&String> = ours.tags().chain(theirs.tags()).collect();
    for file in names {
        let detail = match (ours.files.get(file), theirs.files.get(file)) {
            (Some(_), None) => "the replica does not have the tag",
            (None, Some(_)) => "the primary does not have the tag",
            (Some(our), Some(their)) => match our.checksum.zip(their.checksum) {
                Some((a, b)) if a != b => "the tag is not the primary's",
                _ => continue,
            },
            (None, None) => continue,
        };
        found.add(Kind::Tag, [], file, detail);
    }
}

/// The files of its versions that the primary itself does not have.
pub(super) fn damage(place: (&str, &str), source: &Source) -> Vec<Finding> {
    let versions: Vec<u64> = source.contents.keys().copied().collect();
    let mut found = Found::new(place);
    for (file, versions) in files_of(source, &versions) {
        if !source.inventory.files.contains_key(file) {
            let detail = "the primary itself does not have it";
            found.add(Kind::Missing, versions, file, detail);
        }
    }
    found.findings
}

/// Files of a replica in the folders of these versions' indexes that are not
/// theirs: readers find the files of an index by listing its folder.
fn extra<'a>(files: &BTreeMap<&str, Vec<u64>>, copy: &'a Inventory) -> BTreeSet<&'a str> {
    let folder = |file: &str| {
        let mut parts = file.strip_prefix("_indices/")?.splitn(2, '/');
        parts.next().map(str::to_owned)
    };
    let known: BTreeSet<String> = files.keys().filter_map(|file| folder(file)).collect();
    let extra = copy.files.keys().map(String::as_str);
    extra
        .filter(|file| !files.contains_key(*file))
        .filter(|file| folder(file).is_some_and(|index| known.contains(&index)))
        .collect()
}

fn count(
    result: &mut Comparison,
    source: &Source,
    copy: &Inventory,
    same: &[u64],
    files: &BTreeMap<&str, Vec<u64>>,
) {
    for version in same {
        if let Some(manifest) = source.inventory.manifests.get(version) {
            result.files += 1;
            result.bytes += manifest.object.size;
            result.checked_bytes += manifest.object.size;
        }
    }
    for file in files.keys() {
        if let Some(our) = source.inventory.files.get(*file) {
            let their = copy.files.get(*file).and_then(|their| their.checksum);
            result.files += 1;
            result.bytes += our.size;
            result.checked_bytes += match our.checksum.and(their) {
                Some(_) => our.size,
                None => 0,
            };
        }
    }
}

/// How a file is not what it should be.
fn another(found: &Object, expected: &Object) -> String {
    match (found.checksum, expected.checksum) {
        (Some(found), Some(expected)) if found != expected => {
            format!("{found} where the primary has {expected}")
        }
        _ => format!(
            "{} bytes where the primary has {}",
            found.size, expected.size
        ),
    }
}

#[cfg(test)]
mod tests;

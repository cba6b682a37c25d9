//! The connections: their defaults, their names, and that no two are the same.

use std::{collections::BTreeMap, path::Path};

use super::{
    Location, ReplicaMode,
    fault::Faults,
    location::{canonical, identity, storage_options},
    pool::zone,
    raw::{self, Raw},
};

/// Folder of the embedded default.
const DATA_DIR: &str = "./lancegate-data";

/// The primary and the replicas. The embedded default is there only when none
/// of them is configured: a replica of a forgotten, empty primary would be
/// emptied too.
pub(super) fn connections(
    raw: &Raw,
    data_dir: Option<&Path>,
    faults: &mut Faults,
) -> Option<(Location, Vec<Location>)> {
    let replicas = raw.replicas.as_deref();
    let embedded;
    let (primary, replicas) = match (&raw.primary, replicas) {
        (Some(primary), replicas) => {
            if data_dir.is_some() {
                let problem =
                    "is only for the embedded default: the configuration names its own locations";
                faults.push("--data-dir or LANCEGATE_DATA_DIR", problem);
            }
            (primary, replicas.unwrap_or_default())
        }
        (None, Some([_, ..])) => {
            faults.push("primary.uri", "is required where there are replicas");
            return None;
        }
        (None, replicas) => {
            embedded = embedded_default(data_dir.unwrap_or(Path::new(DATA_DIR)), faults)?;
            (&embedded.0, replicas.unwrap_or(&embedded.1))
        }
    };

    let primary = location(
        "primary",
        "primary".into(),
        Written {
            name: primary.name.as_ref(),
            uri: primary.uri.as_ref(),
            mode: ReplicaMode::Managed,
            in_rotation: true,
            weight: 1,
            zone: "",
            storage_options: &primary.storage_options,
        },
        faults,
    );
    let mut checked = Vec::new();
    for (i, replica) in replicas.iter().enumerate() {
        let path = format!("replicas[{i}]");
        checked.push(location(
            &path,
            format!("replica-{}", i + 1),
            Written {
                name: replica.name.as_ref(),
                uri: replica.uri.as_ref(),
                mode: replica.mode,
                in_rotation: replica.in_rotation,
                weight: replica.weight,
                zone: &replica.zone,
                storage_options: &replica.storage_options,
            },
            faults,
        ));
    }
    all_differ(
        primary.iter().map(|l| ("primary".to_string(), l)),
        &checked,
        faults,
    );
    Some((primary?, checked.into_iter().collect::<Option<_>>()?))
}

/// What is written of a connection.
struct Written<'a> {
    name: Option<&'a String>,
    uri: Option<&'a String>,
    mode: ReplicaMode,
    in_rotation: bool,
    weight: u32,
    zone: &'a str,
    storage_options: &'a BTreeMap<String, raw::StorageOption>,
}

fn embedded_default(
    folder: &Path,
    faults: &mut Faults,
) -> Option<(raw::Location, Vec<raw::Replica>)> {
    let Some(folder) = folder.to_str() else {
        faults.push("--data-dir or LANCEGATE_DATA_DIR", "must be UTF-8");
        return None;
    };
    let place = |name: &str| Some(format!("{}/{name}", folder.trim_end_matches('/')));
    let replica = |name: &str| raw::Replica {
        name: Some(name.into()),
        uri: place(name),
        mode: ReplicaMode::Managed,
        in_rotation: true,
        weight: 1,
        zone: String::new(),
        storage_options: BTreeMap::new(),
    };
    let primary = raw::Location {
        name: Some("primary".into()),
        uri: place("primary"),
        storage_options: BTreeMap::new(),
    };
    Some((primary, vec![replica("replica-1"), replica("replica-2")]))
}

fn location(
    path: &str,
    default_name: String,
    raw: Written<'_>,
    faults: &mut Faults,
) -> Option<Location> {
    let name = raw.name.cloned().unwrap_or(default_name);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=63).contains(&name.len()) || !name.chars().all(fits) {
        faults.push(format!("{path}.name"), "must be 1 to 63 of a-z, 0-9 and -");
    }
    let zone = zone(&format!("{path}.zone"), raw.zone, faults);
    let storage_options = storage_options(path, raw.storage_options, faults);
    let at = format!("{path}.uri");
    let uri = match raw.uri {
        Some(uri) => faults.ok(&at, canonical(uri))?,
        None => {
            faults.push(at, "is required");
            return None;
        }
    };
    Some(Location {
        name,
        uri,
        mode: raw.mode,
        in_rotation: raw.in_rotation,
        weight: raw.weight,
        zone,
        storage_options,
    })
}

/// No two connections of one name, and none at one place but the primary and a
/// replica that shares its location.
fn all_differ<'a>(
    primary: impl Iterator<Item = (String, &'a Location)>,
    replicas: &'a [Option<Location>],
    faults: &mut Faults,
) {
    let replicas = replicas.iter().enumerate();
    let replicas = replicas.filter_map(|(i, l)| Some((format!("replicas[{i}]"), l.as_ref()?)));
    let mut names = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut primary_place = None;
    for (path, location) in primary.chain(replicas) {
        if let Some(first) = names.insert(location.name.as_str(), path.clone()) {
            faults.push(
                format!("{path}.name"),
                format!("must differ from {first}.name"),
            );
        }
        let place = identity(&location.uri, &location.storage_options);
        if path == "primary" {
            primary_place = Some(place.clone());
        } else if location.mode == ReplicaMode::Shared {
            // Without a primary there is another fault.
            if primary_place.as_ref().is_some_and(|p| *p != place) {
                faults.push(
                    format!("{path}.uri"),
                    "must be the place of primary.uri where mode is \"shared\"",
                );
            }
            continue;
        }
        if let Some(first) = places.insert(place, path.clone()) {
            faults.push(
                format!("{path}.uri"),
                format!("is the same place as {first}.uri"),
            );
        }
    }
}

//! The connections: their defaults, their names, and that no two are the same.

use std::{collections::BTreeMap, path::Path};

use super::{
    Discovery, Location, NodePrimary, NodeReplica, Primary, ReplicaMode,
    fault::Faults,
    location::{canonical, fit_addresses, identity, storage_options},
    nodes::is_node,
    options::heeded,
    pool::zone,
    raw::{self, Raw},
};

/// Folder of the embedded default.
const DATA_DIR: &str = "./lancegate-data";

/// Everything that answers reads or takes writes.
pub(super) struct Connections {
    pub primary: Primary,
    /// The locations that this process opens.
    pub replicas: Vec<Location>,
    /// The other nodes.
    pub nodes: Vec<NodeReplica>,
}

/// A connection of either kind.
enum Place {
    Embedded(Location),
    Node(NodeReplica),
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Place::Embedded(location) => &location.name,
            Place::Node(node) => &node.name,
        }
    }
}

/// The primary and the replicas. The embedded default is there only when none
/// of them is configured: a replica of a forgotten, empty primary would be
/// emptied too.
pub(super) fn connections(
    raw: &Raw,
    data_dir: Option<&Path>,
    faults: &mut Faults,
) -> Option<Connections> {
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

    let primary = place(
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
        checked.push(place(
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
    all_differ(primary.as_ref(), &checked, faults);
    let primary = match primary {
        Some(Place::Embedded(location)) => Some(Primary::Embedded(location)),
        Some(Place::Node(node)) => primary_node(node, &checked, faults),
        None => None,
    };
    let (mut replicas, mut nodes) = (Vec::new(), Vec::new());
    for place in checked {
        match place? {
            Place::Embedded(location) => replicas.push(location),
            Place::Node(node) => nodes.push(node),
        }
    }
    Some(Connections {
        primary: primary?,
        replicas,
        nodes,
    })
}

/// A primary that is another node: one, and what is read is at nodes too. A copy
/// here would need the primary's files.
fn primary_node(
    node: NodeReplica,
    replicas: &[Option<Place>],
    faults: &mut Faults,
) -> Option<Primary> {
    for (i, replica) in replicas.iter().enumerate() {
        if matches!(replica, Some(Place::Embedded(_))) {
            faults.push(
                format!("replicas[{i}].uri"),
                "must be a node (grpc://) where the primary is one: a location of this process needs the primary's location, to copy from and to tell how fresh it is",
            );
        }
    }
    match node.discovery {
        Discovery::Static(address) => Some(Primary::Node(NodePrimary {
            name: node.name,
            address,
            tls: node.tls,
        })),
        Discovery::Dns(_) | Discovery::File(_) => {
            faults.push("primary.uri", "must be one node: write grpc://host:port");
            None
        }
    }
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

fn place(path: &str, default_name: String, raw: Written<'_>, faults: &mut Faults) -> Option<Place> {
    let name = raw.name.cloned().unwrap_or(default_name);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=63).contains(&name.len()) || !name.chars().all(fits) {
        faults.push(format!("{path}.name"), "must be 1 to 63 of a-z, 0-9 and -");
    }
    let zone = zone(&format!("{path}.zone"), raw.zone, faults);
    let at = format!("{path}.uri");
    if let Some(uri) = raw.uri.filter(|uri| is_node(uri)) {
        if raw.mode != ReplicaMode::Managed {
            let problem = "is for locations that this process opens, and uri is a node";
            faults.push(format!("{path}.mode"), problem);
        }
        if !raw.storage_options.is_empty() {
            let problem = "are for locations that this process opens, and uri is a node";
            faults.push(format!("{path}.storage_options"), problem);
        }
        let (discovery, tls) = faults.ok(&at, Discovery::parse(uri))?;
        return Some(Place::Node(NodeReplica {
            name,
            discovery,
            tls,
            in_rotation: raw.in_rotation,
            weight: raw.weight,
            zone,
        }));
    }
    let (storage_options, option_files) = storage_options(path, raw.storage_options, faults);
    fit_addresses(path, &storage_options, faults);
    let uri = match raw.uri {
        Some(uri) => faults.ok(&at, canonical(uri))?,
        None => {
            faults.push(at, "is required");
            return None;
        }
    };
    heeded(path, &uri, &storage_options, faults);
    let location = Location {
        name,
        uri,
        mode: raw.mode,
        in_rotation: raw.in_rotation,
        weight: raw.weight,
        zone,
        storage_options,
        option_files,
    };
    if path != "primary" && raw.mode == ReplicaMode::Managed && location.commits_elsewhere() {
        // A version is published by its manifest alone: DynamoDB would not know it.
        let problem = "must be s3:// where mode is \"managed\": what this server copies is not in DynamoDB's table";
        faults.push(at, problem);
    }
    Some(Place::Embedded(location))
}

/// No two connections of one name, and none at one place but the primary and a
/// replica that shares its location. The node that is the primary may answer reads
/// in turn with others too.
fn all_differ(primary: Option<&Place>, replicas: &[Option<Place>], faults: &mut Faults) {
    let primary = primary.map(|place| ("primary".to_string(), place));
    let replicas = replicas.iter().enumerate();
    let replicas = replicas.filter_map(|(i, p)| Some((format!("replicas[{i}]"), p.as_ref()?)));
    let mut names = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut primary_place = None;
    for (path, place) in primary.into_iter().chain(replicas) {
        if let Some(first) = names.insert(place.name().to_owned(), path.clone()) {
            faults.push(
                format!("{path}.name"),
                format!("must differ from {first}.name"),
            );
        }
        let (at, is_shared) = match place {
            Place::Embedded(l) => (
                identity(&l.uri, &l.storage_options),
                l.mode == ReplicaMode::Shared,
            ),
            Place::Node(node) => (node.discovery.to_uri(node.tls), false),
        };
        if path == "primary" {
            primary_place = Some(at.clone());
            if matches!(place, Place::Node(_)) {
                continue;
            }
        } else if is_shared {
            // Without a primary there is another fault.
            if primary_place.as_ref().is_some_and(|p| *p != at) {
                faults.push(
                    format!("{path}.uri"),
                    "must be the place of primary.uri where mode is \"shared\"",
                );
            }
            continue;
        }
        if let Some(first) = places.insert(at, path.clone()) {
            faults.push(
                format!("{path}.uri"),
                format!("is the same place as {first}.uri"),
            );
        }
    }
}

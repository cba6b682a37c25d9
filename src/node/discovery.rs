//! Which nodes there are: one address, the addresses of a name, or the lines of a
//! file.

use std::{collections::BTreeMap, io};

use crate::config::{Discovery, NodeAddress, NodeReplica};

/// Most nodes behind one name. Each is probed by a task of its own.
const MAX_NODES: usize = 1_000;

/// Longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Largest weight.
const MAX_WEIGHT: u32 = 1_000;

/// One node that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub name: String,
    pub address: NodeAddress,
    pub weight: u32,
    pub zone: Option<String>,
}

/// What is known of the nodes now, in a fixed order and each address once.
///
/// # Errors
/// The name cannot be resolved, or the file cannot be read or has a line that is
/// none: better the nodes of before than some of the new ones.
pub(super) async fn discover(replica: &NodeReplica) -> io::Result<Vec<Found>> {
    let named = |address: NodeAddress| Found {
        name: format!("{}@{address}", replica.name),
        address,
        weight: replica.weight,
        zone: replica.zone.clone(),
    };
    let found: Vec<Found> = match &replica.discovery {
        Discovery::Static(address) => vec![Found {
            name: replica.name.clone(),
            ..named(address.clone())
        }],
        Discovery::Dns(name) => resolve(name).await?.into_iter().map(named).collect(),
        Discovery::File(path) => {
            let length = tokio::fs::metadata(path).await?.len();
            if length > MAX_FILE {
                return Err(invalid(format!(
                    "the file has {length} bytes, more than 1 MiB"
                )));
            }
            let text = tokio::fs::read_to_string(path).await?;
            parse(&text, named).map_err(invalid)?
        }
    };
    let once: BTreeMap<NodeAddress, Found> =
        found.into_iter().map(|f| (f.address.clone(), f)).collect();
    if once.len() > MAX_NODES {
        return Err(invalid(format!("there are more than {MAX_NODES} nodes")));
    }
    Ok(once.into_values().collect())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Every address of the name, as the system resolves it: `/etc/hosts` too.
async fn resolve(name: &NodeAddress) -> io::Result<Vec<NodeAddress>> {
    let found = tokio::net::lookup_host((name.host.as_str(), name.port)).await?;
    Ok(found
        .map(|address| NodeAddress {
            host: address.ip().to_string(),
            port: address.port(),
        })
        .collect())
}

/// The lines of a file: `host:port`, then `weight=N` and `zone=Z` where they
/// differ from the configured ones. `#` begins a comment.
fn parse(text: &str, named: impl Fn(NodeAddress) -> Found) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let at = |problem: String| format!("line {}: {problem}", number + 1);
        let mut node = named(NodeAddress::parse(address).map_err(at)?);
        for word in words {
            match word.split_once('=') {
                Some(("weight", weight)) => {
                    let weight = weight.parse().ok();
                    let weight = weight.filter(|w| (1..=MAX_WEIGHT).contains(w));
                    let problem = format!("weight must be from 1 to {MAX_WEIGHT}");
                    node.weight = weight.ok_or_else(|| at(problem))?;
                }
                Some(("zone", zone)) => node.zone = Some(zone.to_owned()),
                _ => return Err(at("write host:port [weight=N] [zone=Z]".into())),
            }
        }
        found.push(node);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(discovery: Discovery) -> NodeReplica {
        NodeReplica {
            name: "nodes".into(),
            discovery,
            tls: false,
            in_rotation: true,
            weight: 3,
            zone: Some("a".into()),
        }
    }

    async fn file(text: &str) -> io::Result<Vec<Found>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes");
        std::fs::write(&path, text).unwrap();
        discover(&replica(Discovery::File(path))).await
    }

    #[tokio::test]
    async fn a_file_has_a_node_on_each_line() {
        let text =
            "# ours\n\n10.0.0.2:5001 zone=b weight=7 # second\n10.0.0.1:5001\n10.0.0.1:5001\n";
        let found = file(text).await.unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.weight, f.zone.as_deref().unwrap()))
            .collect();
        let expected = [
            ("nodes@10.0.0.1:5001", 3, "a"),
            ("nodes@10.0.0.2:5001", 7, "b"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(file("").await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_file_with_a_fault_is_not_taken_at_all() {
        for (text, part) in [
            ("10.0.0.1:5001\nhere\n", "line 2"),
            ("10.0.0.1:5001 weight=0", "weight must be"),
            ("10.0.0.1:5001 weight=x", "weight must be"),
            ("10.0.0.1:5001 heavy", "write host:port"),
        ] {
            let problem = file(text).await.unwrap_err().to_string();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        let none = Discovery::File("/no/such/file".into());
        assert!(discover(&replica(none)).await.is_err());
    }

    #[tokio::test]
    async fn a_name_is_a_node_at_each_address_and_one_address_keeps_its_name() {
        let local = NodeAddress::parse("localhost:5001").unwrap();
        let found = discover(&replica(Discovery::Dns(local.clone()))).await;
        let found = found.unwrap();
        let is_loopback = |f: &Found| matches!(f.address.host.as_str(), "127.0.0.1" | "::1");
        assert!(
            !found.is_empty() && found.iter().all(is_loopback),
            "{found:?}"
        );
        assert!(found[0].name.starts_with("nodes@"), "{found:?}");
        let found = discover(&replica(Discovery::Static(local))).await.unwrap();
        assert_eq!(found[0].name, "nodes");
    }
}

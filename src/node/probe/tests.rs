//! Probes: what is made of answers, and what is shown.

use http::HeaderValue;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::*;
use crate::{
    config::{self, NodeAddress, Sources},
    node::remote::Identity,
};

fn connection(
    role: pb::Role,
    state: pb::ConnectionState,
    version: u64,
    lag_versions: u64,
) -> pb::ConnectionStatus {
    pb::ConnectionStatus {
        role: role.into(),
        state: state.into(),
        tables: vec![pb::TablePosition {
            table: "t".into(),
            version,
            lag_versions,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn a_node_is_where_its_slowest_replica_is() {
    use pb::{ConnectionState::*, Role::*};
    let primary = connection(Primary, Up, 9, 0);
    let slow = connection(Replica, Up, 6, 3);
    let fast = connection(Replica, Up, 8, 1);
    let down = connection(Replica, Down, 1, 8);
    let of = |connections: &[&pb::ConnectionStatus]| {
        let found = positions(connections.iter().map(|c| (*c).clone()).collect());
        found.iter().map(|p| p.version).collect::<Vec<_>>()
    };
    assert_eq!(of(&[&primary, &fast, &slow, &down]), [6]);
    assert_eq!(of(&[&primary, &down]), [9]);
    assert!(of(&[&down]).is_empty());
}

/// Answers every call with an error, and says what it showed.
async fn node(told: mpsc::UnboundedSender<Option<HeaderValue>>) -> Arc<Node> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let key = request.headers().get("authorization").cloned();
                told.send(key).unwrap();
                let answer = http::Response::builder().status(503);
                respond
                    .send_response(answer.body(()).unwrap(), true)
                    .unwrap();
            }
        }
    });
    let identity = Identity {
        name: "node".into(),
        group: "node".into(),
        role: Role::Primary,
        address: NodeAddress::parse(&address).unwrap(),
        tls: None,
        weight: 1,
        zone: None,
    };
    let settings = config::load(Sources::default()).unwrap().nodes.settings;
    Arc::new(Node::new(identity, settings, watch::Sender::new(0)))
}

#[tokio::test]
async fn each_probe_shows_the_key_that_the_file_holds_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let (told, mut shown) = mpsc::unbounded_channel();
    let node = node(told).await;
    for (key, value) in [
        (None, None),
        (Some("first\n"), Some("Bearer first")),
        (Some("second"), Some("Bearer second")),
    ] {
        let mut config = config::load(Sources::default()).unwrap();
        if let Some(key) = key {
            std::fs::write(&path, key).unwrap();
            config.nodes.api_key = Some(NodeKey::File(path.clone()));
        }
        let prober = Prober {
            live: Live::new(config),
            instance: "me".into(),
        };
        assert!(prober.probe(&node).await.is_err());
        let value = value.map(HeaderValue::from_static);
        assert_eq!(shown.recv().await.unwrap(), value);
    }
    // Without its file nothing is asked at all.
    std::fs::remove_file(&path).unwrap();
    let mut config = config::load(Sources::default()).unwrap();
    config.nodes.api_key = Some(NodeKey::File(path));
    let prober = Prober {
        live: Live::new(config),
        instance: "me".into(),
    };
    let said = prober.probe(&node).await.unwrap_err();
    assert!(said.contains("nodes.api_key_file"), "{said}");
    assert!(shown.try_recv().is_err());
}

#[test]
fn so_many_failures_in_a_row_take_a_node_out_and_one_answer_brings_it_back() {
    let config = config::load(Sources::default()).unwrap();
    assert_eq!(config.health.failure_threshold, 2);
    let identity = Identity {
        name: "node".into(),
        group: "node".into(),
        role: Role::Replica,
        address: NodeAddress::parse("127.0.0.1:1").unwrap(),
        tls: None,
        weight: 1,
        zone: None,
    };
    let changes = watch::Sender::new(0);
    let node = Node::new(identity, config.nodes.settings, changes.clone());
    let prober = Prober {
        live: Live::new(config),
        instance: "me".into(),
    };
    let (mut failures, mut states) = (0, Vec::new());
    for well in [false, true, false, true, false, false, true] {
        let found = match well {
            true => Ok(Vec::new()),
            false => Err("broken".to_owned()),
        };
        prober.note(&node, found, &mut failures);
        assert!(node.status().last_error.is_some());
        states.push(node.state());
    }
    use ConnectionState::{Down, Up};
    // One that was never up is down at once.
    assert_eq!(states, [Down, Up, Up, Up, Up, Down, Up]);
    assert_eq!(*changes.borrow(), 4);
    assert!(node.member().is_in_rotation());
}

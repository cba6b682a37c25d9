//! Nodes among the connections.

use super::*;

#[test]
fn nodes_may_stand_beside_locations_or_be_all_there_is() {
    let beside = r#"
        [primary]
        uri = "/data/primary"
        [[replicas]]
        uri = "/data/1"
        [[replicas]]
        name = "others"
        uri = "grpc+dns://nodes.example:50051"
        [nodes]
        channels_per_node = 2
        resolve_interval = "30s"
    "#;
    let config = load_with(beside, &[]).unwrap();
    assert_eq!(config.replicas.len(), 1);
    assert_eq!(config.nodes.replicas[0].name, "others");
    assert_eq!(config.nodes.settings.channels_per_node, 2);
    let again = load_with(&config.render(), &[]).unwrap();
    assert_eq!(again.nodes.replicas, config.nodes.replicas);

    let remote = r#"
        [primary]
        uri = "grpc://10.0.0.7:50051"
        [[replicas]]
        uri = "grpc://10.0.0.7:50051"
        [[replicas]]
        uri = "grpc+file:///etc/lancegate/nodes"
    "#;
    let config = load_with(remote, &[]).unwrap();
    assert!(config.primary.location().is_none());
    let names: Vec<_> = config.nodes.replicas.iter().map(|n| &n.name).collect();
    assert_eq!(names, ["replica-1", "replica-2"]);
    assert!(load_with(&config.render(), &[]).is_ok());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let said = faults(
        r#"
        [primary]
        uri = "grpc+dns://primary.example:50051"
        storage_options = { allow_http = "true" }
        [[replicas]]
        uri = "/data/1"
        [[replicas]]
        uri = "grpc://10.0.0.8:50051"
        mode = "shared"
        [[replicas]]
        uri = "grpc://10.0.0.8:50051"
        [[replicas]]
        uri = "grpcs://10.0.0.9:50051/path"
        [nodes]
        connect_timeout = "0s"
        channels_per_node = 0
        "#,
        &[],
    );
    for expected in [
        "primary.uri: must be one node: write grpc://host:port",
        "primary.storage_options: are for locations that this process opens",
        "replicas[0].uri: must be a node (grpc://) where the primary is one",
        "replicas[1].mode: is for locations that this process opens",
        "replicas[2].uri: is the same place as replicas[1].uri",
        "replicas[3].uri: '10.0.0.9:50051/path' is no address",
        "nodes.connect_timeout: must be longer than nothing",
        "nodes.channels_per_node: must be a whole number from 1 to 64",
    ] {
        assert!(said.contains(expected), "missing: {expected}\n{said}");
    }
    let text = r#"
        [primary]
        uri = "grpc://10.0.0.7:50051"
        [replication]
        lease = true
        [retention]
        enabled = true
    "#;
    let said = faults(text, &[]);
    assert!(
        said.contains("retention.enabled: needs a primary"),
        "{said}"
    );
}

#[test]
fn reads_may_be_run_again_at_a_node_which_may_be_out_of_rotation() {
    let text = |name: &str| {
        format!(
            "[primary]\nuri = '/data/p'\n[[replicas]]\nname = 'nodes'\nuri = 'grpc+dns://h:1'\n\
             in_rotation = false\n[shadow]\nconnection = '{name}'\nshare = 0.5"
        )
    };
    let config = load_with(&text("nodes"), &[]).unwrap();
    assert!(!config.nodes.replicas[0].in_rotation);
    assert_eq!(config.shadow.as_ref().unwrap().connection, "nodes");
    let again = load_with(&config.render(), &[]).unwrap();
    assert_eq!(again.nodes.replicas, config.nodes.replicas);
    assert!(load_with(&text("primary"), &[]).is_ok());
    let said = faults(&text("others"), &[]);
    assert!(
        said.contains("shadow.connection: is no connection"),
        "{said}"
    );
    // The node that is the primary has a name, too.
    let remote = text("main").replace("uri = '/data/p'", "name = 'main'\nuri = 'grpc://p:1'");
    assert!(load_with(&remote, &[]).is_ok());
    let said = faults(&remote.replace("'main'\nshare", "'primary'\nshare"), &[]);
    assert!(
        said.contains("shadow.connection: is no connection"),
        "{said}"
    );
}

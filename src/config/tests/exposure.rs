//! Servers that others than this machine can reach, and their certificates.

use super::*;

const TLS: &str = "
    [server.tls]
    cert_file = '/tls/tls.crt'
    key_file = '/tls/tls.key'
";

#[test]
fn what_everybody_may_read_and_call_has_to_be_meant() {
    let at = |address: &str, more: &str| format!("[server]\ngrpc_address = '{address}'\n{more}");
    for loopback in [
        "127.0.0.1:1",
        "127.8.9.10:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(load_with(&at(loopback, ""), &[]).is_ok(), "{loopback}");
    }
    for open in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "[::ffff:10.0.0.7]:1"] {
        let said = faults(&at(open, ""), &[]);
        assert!(said.contains("has 2 faults"), "{said}");
        for part in [
            "server.grpc_address: ",
            "is not loopback and has no TLS: set server.tls.cert_file and server.tls.key_file, or",
            "server.allow_plaintext = true",
            "is not loopback and anybody may call it: set access.enabled, or server.tls.client_auth",
            "server.allow_unauthenticated = true",
        ] {
            assert!(said.contains(part), "missing: {part}\n{said}");
        }
        let said = faults(&at(open, "allow_plaintext = true"), &[]);
        assert!(
            said.contains("anybody may call it") && !said.contains("no TLS"),
            "{said}"
        );
        let said = faults(&at(open, "allow_unauthenticated = true"), &[]);
        assert!(
            said.contains("no TLS") && !said.contains("anybody"),
            "{said}"
        );
        let both = "allow_plaintext = true\nallow_unauthenticated = true";
        assert!(load_with(&at(open, both), &[]).is_ok(), "{open}");
        // A certificate of its own says nothing of who calls.
        let said = faults(&at(open, TLS), &[]);
        assert!(
            said.contains("anybody may call it") && !said.contains("no TLS"),
            "{said}"
        );
        for (auth, fits) in [("optional", false), ("required", true)] {
            let mutual = format!("{TLS}client_ca_file = '/tls/ca.crt'\nclient_auth = '{auth}'");
            assert_eq!(load_with(&at(open, &mutual), &[]).is_ok(), fits, "{auth}");
        }
    }
}

#[test]
fn so_has_what_everybody_may_see_of_the_other_port() {
    let with = |server: &str, more: &str| {
        format!("[server]\nhttp_address = '0.0.0.0:1'\n{server}\n{more}")
    };
    let said = faults(&with("", ""), &[]);
    assert!(said.contains("has 2 faults"), "{said}");
    for part in [
        "server.http_address: 0.0.0.0:1 is not loopback and has no TLS: set \
         server.http_tls.cert_file and server.http_tls.key_file, or",
        "server.allow_plaintext = true",
        "server.http_address: 0.0.0.0:1 is not loopback and anybody may see its metrics: set \
         metrics.bearer_token_file or access.enabled, or",
        "server.allow_unauthenticated = true",
    ] {
        assert!(said.contains(part), "missing: {part}\n{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "let-me-in").unwrap();
    let token = format!("[metrics]\nbearer_token_file = '{}'", token.display());
    let keys = folder.path().join("keys.toml");
    let access = format!(
        "[access]\nenabled = true\napi_keys_file = '{}'\n\
         [[access.bindings]]\nprincipals = ['key:a']\nrole = 'metrics'",
        keys.display()
    );
    let tls = TLS.replace("server.tls", "server.http_tls");
    let mutual = format!("{tls}client_ca_file = '/tls/ca.crt'\nclient_auth = 'required'");
    let plain = "allow_plaintext = true";
    let both = "allow_plaintext = true\nallow_unauthenticated = true";
    for (server, more, fits) in [
        (both, "", true),
        (plain, "", false),
        (plain, token.as_str(), true),
        (plain, &access, true),
        ("", &token, false),
        ("", &tls, false),
        // What is asked of the one port says nothing of the other.
        ("", &format!("{TLS}{token}"), false),
        ("", &format!("{tls}{token}"), true),
        ("", &mutual, true),
    ] {
        let text = with(server, more);
        let loaded = load_with(&text, &[]);
        assert_eq!(loaded.is_ok(), fits, "{text}\n{loaded:?}");
    }
}

#[test]
fn certificates_and_keys_come_together() {
    let said = faults(
        "
        [server.tls]
        cert_file = '/tls/tls.crt'
        client_ca_file = '/tls/ca.crt'
        [server.http_tls]
        key_file = '/tls/tls.key'
        client_auth = 'required'
        reload_interval = '0s'
        [nodes]
        api_key = 'two words'
        api_key_file = '/keys/node'
        [nodes.tls]
        cert_file = '/tls/tls.crt'
        ",
        &[],
    );
    for expected in [
        "server.tls.key_file: is required where cert_file is given",
        "server.tls.client_auth: is \"none\", and client_ca_file is given",
        "server.http_tls.cert_file: is required where key_file is given",
        "server.http_tls.client_ca_file: is required where client_auth",
        "server.http_tls.reload_interval: must be longer than nothing",
        "nodes.api_key_file: and nodes.api_key cannot both be there",
        "nodes.api_key: must be printable ASCII",
        "nodes.tls.key_file: is required where cert_file is given",
    ] {
        assert!(said.contains(expected), "missing: {expected}\n{said}");
    }
    assert!(!said.contains("two words"), "{said}");
}

#[test]
fn all_of_it_is_read_back_but_the_key_which_is_shown_to_nobody() {
    let text = "
        [server]
        grpc_address = '0.0.0.0:50051'
        [server.tls]
        cert_file = '/tls/tls.crt'
        key_file = '/tls/tls.key'
        client_ca_file = '/tls/ca.crt'
        client_auth = 'required'
        reload_interval = '1m'
        [nodes]
        api_key = 'hunter2'
        [nodes.tls]
        ca_file = '/tls/ca.crt'
        server_name = 'nodes.example'
        [limits]
        max_connections = 7
        max_connections_per_client = 3
        max_header_bytes = '8KiB'
    ";
    let config = load_with(text, &[]).unwrap();
    let shown = config.render();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{config:?}").contains("hunter2"));
    let again = load_with(&shown, &[]).unwrap();
    assert_eq!(again.server.tls, config.server.tls);
    assert_eq!(again.nodes.tls, config.nodes.tls);
    assert_eq!(again.sockets.max_per_client, 3);
    assert_eq!(again.render(), shown);
    // Without a key there is none, also when it is read back.
    let none = load(Sources::default()).unwrap();
    assert!(none.nodes.api_key.is_none());
    let again = load_with(&none.render(), &[]).unwrap();
    assert!(again.nodes.api_key.is_none());
    // Another key is a change, and neither is shown.
    let other = load_with(&text.replace("hunter2", "swordfish"), &[]).unwrap();
    let changes = diff(&config, &other);
    let changes: Vec<_> = changes.iter().map(|c| format!("{c:?}")).collect();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].contains("nodes.api_key"), "{changes:?}");
    assert!(!changes[0].contains("hunter2") && !changes[0].contains("swordfish"));
}

//! The command line: against servers with TLS, and where a server may not start.

use std::path::Path;

use tempfile::TempDir;

use super::{
    certs::Authority,
    renewed::{Secured, secured},
};
use crate::process::{lancegate, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_has_the_flags_and_exit_codes_of_grpc_health_probe() {
    let authority = Authority::new("all");
    let folder = TempDir::new().unwrap();
    authority.server().write(&folder.path().join("tls"));
    authority
        .client("spiffe://test/probe")
        .write(&folder.path().join("probe"));
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let stranger = folder.path().join("stranger.crt");
    std::fs::write(&stranger, &Authority::new("stranger").pem).unwrap();
    let server: Secured = secured(
        folder,
        &[
            ("LANCEGATE_SERVER__TLS__CLIENT_AUTH", "required"),
            ("LANCEGATE_SERVER__TLS__CLIENT_CA_FILE", text(&ca)),
        ],
    )
    .await;
    let address = server.app.grpc_address().to_string();
    let (cert, key) = (
        server.folder.path().join("probe/tls.crt"),
        server.folder.path().join("probe/tls.key"),
    );
    let probe = async |more: &[&str]| {
        let mut args = vec!["healthcheck", "--address", &address];
        args.extend(["--connect-timeout", "20s", "--rpc-timeout", "20s"]);
        args.extend_from_slice(more);
        let ended = run(lancegate(&args)).await;
        (ended.code, format!("{}{}", ended.out, ended.err))
    };
    let client = [
        "--tls-client-cert",
        text(&cert),
        "--tls-client-key",
        text(&key),
    ];
    let with = |more: &[&'static str], ca: &str| {
        let mut all = vec!["--tls".to_owned(), "--tls-ca-cert".into(), ca.to_owned()];
        all.extend(client.iter().map(|s| (*s).to_owned()));
        all.extend(more.iter().map(|s| (*s).to_owned()));
        all
    };
    for (args, code, said) in [
        (with(&[], text(&ca)), 0, "serving"),
        (
            with(&["--tls-server-name", "localhost"], text(&ca)),
            0,
            "serving",
        ),
        (
            with(&["--tls-server-name", "other.example"], text(&ca)),
            2,
            "not valid for name",
        ),
        (with(&[], text(&stranger)), 2, "invalid peer certificate"),
        (with(&[], "/no/such/file"), 1, "/no/such/file"),
        (vec![], 2, ""),
        (
            vec!["--tls-ca-cert".into(), text(&ca).into()],
            1,
            "--ca-file: needs --tls",
        ),
        (
            vec!["--tls-client-cert".into(), text(&cert).into()],
            1,
            "--key-file",
        ),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (found, out) = probe(&args).await;
        // Without TLS it is the call that fails, or the connection.
        let found = if args.is_empty() {
            found.map(|c| c.min(2))
        } else {
            found
        };
        assert_eq!(found, Some(code), "{args:?}: {out}");
        assert!(out.contains(said), "{args:?}: {out}");
    }
    // Likewise the other commands, by their variables.
    let mut status = lancegate(&["status"]);
    status
        .env("LANCEGATE_ADDRESS", format!("https://{address}"))
        .env("LANCEGATE_CA_FILE", &ca)
        .env("LANCEGATE_CERT_FILE", &cert)
        .env("LANCEGATE_KEY_FILE", &key)
        .env("LANCEGATE_API_KEY", "a key");
    let ended = run(status).await;
    assert_eq!(ended.code, Some(2), "a key has no spaces: {}", ended.err);
    let mut status = lancegate(&["status", "--address", &format!("https://{address}")]);
    status
        .env("LANCEGATE_CA_FILE", &ca)
        .env("LANCEGATE_CERT_FILE", &cert)
        .env("LANCEGATE_KEY_FILE", &key)
        .env("LANCEGATE_API_KEY", "a-key");
    let ended = run(status).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("primary"), "{}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_everybody_could_use_does_not_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("db");
    let args = [
        "serve",
        "--data-dir",
        text(&data),
        "--grpc-address",
        "0.0.0.0:0",
    ];
    let args = [&args[..], &["--http-address", "127.0.0.1:0"]].concat();
    let refused = run(lancegate(&args)).await;
    assert_eq!(refused.code, Some(78), "{}", refused.err);
    for part in [
        "server.grpc_address: 0.0.0.0:0 is not loopback and has no TLS",
        "server.tls.cert_file",
        "server.allow_plaintext = true",
        "anybody may call it",
        "server.tls.client_auth = \"required\"",
        "server.allow_unauthenticated = true",
    ] {
        assert!(
            refused.err.contains(part),
            "missing: {part}\n{}",
            refused.err
        );
    }
    assert!(!data.exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_said_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("all");
    let (mine, other) = (authority.server(), authority.server());
    mine.write(folder.path());
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let check = async |command: &str| {
        let data = folder.path().join("db");
        let args = ["--data-dir", text(&data), "--grpc-address", "127.0.0.1:0"];
        let args = [&[command][..], &args, &["--http-address", "127.0.0.1:0"]].concat();
        let mut command = lancegate(&args);
        command
            .env("LANCEGATE_SERVER__TLS__CERT_FILE", &cert)
            .env("LANCEGATE_SERVER__TLS__KEY_FILE", &key);
        let ended = run(command).await;
        (ended.code, ended.err)
    };
    assert_eq!(check("check-config").await.0, Some(0));
    for (breaks, said) in [
        (Some(other.key.as_str()), "KeyMismatch"),
        (
            Some("-----BEGIN PRIVATE KEY-----\nAAAA"),
            "ends in the middle",
        ),
        (Some(""), "no private key in PEM"),
        (None, "No such file"),
    ] {
        match breaks {
            Some(text) => std::fs::write(&key, text).unwrap(),
            None => std::fs::remove_file(&key).unwrap(),
        }
        for command in ["check-config", "serve"] {
            let (code, err) = check(command).await;
            assert_eq!(code, Some(78), "{command}: {err}");
            assert!(
                err.contains(said) && err.contains("tls.key"),
                "{command}: {err}"
            );
            assert!(!err.contains("AAAA"), "{err}");
        }
    }
}

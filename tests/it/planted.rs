//! Secrets of every kind are given to a real server, which is then used and misused in
//! front of stores that tell whatever they were sent: nothing that the server tells
//! anybody has any of them in it.

use std::{fs, path::Path};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, Uri},
};
use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{
    access::{Caller, Files, channel, http_get_with},
    data::{ipc, small},
    process::{self, Server, until_some},
    server::http_get,
};

/// Secrets of the configuration, its files and the environment; what only asks is below.
const KEPT: [(&str, &str); 8] = [
    ("an S3 key", "plantedS3secretAccessKey7q2"),
    ("an S3 session", "plantedS3sessionToken8w3"),
    ("an Azure signature", "plantedAzureSasSignature9e4"),
    ("an Azure key", "cGxhbnRlZEF6dXJlQWNjb3VudEtleTByNQ=="),
    ("a Google token", "plantedGoogleBearerToken1t6"),
    ("the text of the metrics", "plantedTextOfTheMetrics2y7"),
    ("the password of a collector", "plantedCollectorPassword3u8"),
    ("the password of an endpoint", "plantedEndpointPassword4i9"),
];

/// A value of a row, which some may not see.
const VALUE: &str = "plantedValueOfARow5o0";

/// Keys and tokens that nobody has.
const SHOWN: [&str; 3] = [
    "lgk_plantedKeyOfNobody6p1",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.plantedSignature7a2",
    "plantedNoKeyAtAll8s3",
];

fn secret(what: &str) -> &'static str {
    KEPT.iter().find(|(name, _)| *name == what).unwrap().1
}

/// A store that refuses everything, and repeats in its answer all that it was sent.
async fn telltale() -> String {
    let repeat = |request: Request| async move {
        let head = format!("{:?} {:?}", request.uri(), request.headers());
        (StatusCode::FORBIDDEN, format!("<Error>{head}</Error>"))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(repeat)).await });
    address.to_string()
}

/// Replicas at stores that are not what they should be: one does not listen, the other
/// tells everything.
fn replicas(store: &str, at: &str) -> String {
    let http = "allow_http = \"true\", client_max_retries = \"1\"";
    let replica = |name: &str, uri: &str, options: String| {
        format!(
            "[[replicas]]\nname = \"{name}-{at}\"\nuri = \"{uri}\"\nmode = \"external\"\nstorage_options = {{ {options}, {http} }}\n"
        )
    };
    [
        replica(
            "s3",
            &format!("s3://bucket-{at}/db"),
            format!(
                "aws_endpoint = \"http://{store}\", aws_region = \"us-east-1\", aws_access_key_id = \"AKID\", aws_secret_access_key = \"{}\", aws_session_token = \"{}\"",
                secret("an S3 key"),
                secret("an S3 session")
            ),
        ),
        replica(
            "sas",
            &format!("az://container-{at}/db"),
            format!(
                "azure_storage_account_name = \"account\", azure_storage_endpoint = \"http://{store}\", azure_storage_sas_token = \"sv=2024-11-04&sp=rwdl&sig={}\"",
                secret("an Azure signature")
            ),
        ),
        replica(
            "azure",
            &format!("az://other-{at}/db"),
            format!(
                "azure_storage_account_name = \"account\", azure_storage_endpoint = \"http://{store}\", azure_storage_account_key = \"{}\"",
                secret("an Azure key")
            ),
        ),
        replica(
            "gs",
            &format!("gs://bucket-{at}/db"),
            format!(
                "google_base_url = \"http://{store}\", google_storage_token = \"{}\"",
                secret("a Google token")
            ),
        ),
    ]
    .concat()
}

/// Everything that was heard, and where.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn text(&mut self, whence: &str, text: impl Into<String>) {
        self.0.push((whence.to_owned(), text.into()));
    }

    /// An error with its details and metadata, or what was answered.
    fn answer<T: std::fmt::Debug>(&mut self, whence: &str, answer: Result<T, Status>) -> Code {
        let text = match &answer {
            Ok(answer) => format!("{answer:?}"),
            Err(status) => {
                let details = String::from_utf8_lossy(status.details()).into_owned();
                format!("{status:?} {} {details}", status.message())
            }
        };
        self.text(whence, text);
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    fn must_not_tell(&self, secrets: &[(&str, &str)]) {
        assert!(self.0.len() > 30, "{}", self.0.len());
        let mut told = Vec::new();
        for (whence, text) in &self.0 {
            for (what, secret) in secrets {
                if let Some(at) = text.find(secret) {
                    let from = text.floor_char_boundary(at.saturating_sub(200));
                    let to = text.ceil_char_boundary((at + 100).min(text.len()));
                    told.push(format!("{whence} tells {what}: {}", &text[from..to]));
                }
            }
        }
        assert!(told.is_empty(), "{}:\n{}", told.len(), told.join("\n"));
    }
}

fn filter(sql: &str, param: &str) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: vec![Value {
            kind: Some(value::Kind::StringValue(param.into())),
        }],
    })
}

fn count(table: &str, filter: Option<Filter>) -> CountRequest {
    CountRequest {
        table: table.into(),
        filter,
        ..Default::default()
    }
}

/// Uses the server well and badly, with values that nobody else is to hear of.
async fn use_it(heard: &mut Heard, root: &mut Caller, acme: &mut Caller) {
    let create = CreateTableRequest {
        table: "docs".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
        exist_ok: true,
    };
    until_some(async || root.table.create_table(create.clone()).await.ok()).await;
    let update = UpdateRequest {
        table: "docs".into(),
        filter: filter("text <> $1", VALUE),
        assignments: vec![Assignment {
            column: "text".into(),
            to: Some(assignment::To::Expression(format!("'{VALUE}'"))),
        }],
        ..Default::default()
    };
    heard.answer("Update", root.write.update(update).await);
    let wrong = [
        format!("nosuch = '{VALUE}'"),
        format!("text = '{VALUE}"),
        format!("text = cast('{VALUE}' as int)"),
        format!("nosuch('{VALUE}')"),
        format!("arrow_cast('{VALUE}', 'Int64') = 1"),
        "CAST(text AS INT) = 1".to_owned(),
        "text = $1 AND $2".to_owned(),
    ];
    for sql in &wrong {
        let asked = root.search.count(count("docs", filter(sql, VALUE))).await;
        heard.answer(
            &format!("a count where {}", sql.replace(VALUE, "..")),
            asked,
        );
        let delete = DeleteRequest {
            table: "docs".into(),
            filter: filter(sql, VALUE),
            ..Default::default()
        };
        let deleted = root.write.delete(delete).await;
        let code = heard.answer("a delete by it", deleted);
        assert_ne!(code, Code::Ok, "{sql}");
    }
    for table in ["../x", "docs"] {
        let counted = acme.search.count(count(table, None)).await;
        let code = heard.answer("a count of a tenant", counted);
        assert_ne!(code, Code::Ok);
    }
    let topology = root.cluster.get_topology(GetTopologyRequest {}).await;
    heard.answer("GetTopology", topology);
    for connection in ["s3-closed", "sas-telltale", "azure-closed", "gs-telltale"] {
        let probe = ProbeConnectionRequest {
            connection: connection.into(),
        };
        let probed = root.cluster.probe_connection(probe).await;
        heard.answer("a probe", probed);
    }
    let reload = ReloadConfigurationRequest {
        validate_only: true,
    };
    heard.answer("a reload", root.cluster.reload_configuration(reload).await);
}

/// What the command line tells of a configuration, good or bad.
async fn commands(heard: &mut Heard, folder: &Path, config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let faulty = folder.join("faulty.toml");
    // A password where there may be none, and a key that nobody knows.
    let faults = format!(
        "{text}\n[[replicas]]\nname = \"password\"\nuri = \"s3://b/db\"\n\
         storage_options = {{ aws_endpoint = \"https://user:{}@127.0.0.1:1\" }}\n\
         [nosuch]\nkey = \"{}\"\n",
        secret("the password of an endpoint"),
        secret("an Azure key")
    );
    fs::write(&faulty, faults).unwrap();
    let broken = folder.join("broken.toml");
    fs::write(&broken, text.replace("region = \"us", "region = us")).unwrap();
    for (file, probe) in [
        (config, false),
        (config, true),
        (faulty.as_path(), false),
        (broken.as_path(), false),
    ] {
        let mut args = vec!["check-config"];
        args.extend(probe.then_some("--probe"));
        let mut command = process::command(folder, 0, &args);
        command.env("LANCEGATE_CONFIG", file);
        let ended = process::run(command).await;
        let whence = format!("check-config {} {probe}", file.display());
        heard.text(&whence, format!("{}\n{}", ended.out, ended.err));
        let good = file == config && !probe;
        assert_eq!(ended.code == Some(0), good, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_to_anybody() {
    let folder = TempDir::new().unwrap();
    let scrape = folder.path().join("scrape");
    fs::write(&scrape, secret("the text of the metrics")).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    let stores = replicas(&nobody, "closed") + &replicas(&telltale().await, "telltale");
    let metrics = format!("[metrics]\nbearer_token_file = \"{}\"\n", scrape.display());
    let files = Files::write(folder.path(), &(metrics + &stores));
    let config = files.config.display().to_string();
    let collector: Uri = format!("http://{nobody}").parse().unwrap();
    let audit = folder.path().join("audit").display().to_string();
    let password = format!(
        "authorization=Basic {}",
        secret("the password of a collector")
    );
    let collector = collector.to_string();
    let env = [
        ("LANCEGATE_CONFIG", config.as_str()),
        ("LANCEGATE_LOGGING__FILTER", "debug,lancegate=trace"),
        ("LANCEGATE_AUDIT__TO", "file"),
        ("LANCEGATE_AUDIT__FOLDER", &audit),
        ("LANCEGATE_AUDIT__ROTATION", "never"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector),
        ("OTEL_EXPORTER_OTLP_HEADERS", &password),
    ];
    let server = Server::start(folder.path(), 0, &env).await;
    let http = server.process.address("http");
    let channel = channel(&server.process.address("grpc").to_string());
    let of = |key: &str| Caller::of(&channel, Some(key));
    let mut heard = Heard::default();
    let (mut root, mut acme) = (of(&files.keys["root"]), of(&files.keys["acme"]));
    use_it(&mut heard, &mut root, &mut acme).await;
    for shown in SHOWN {
        let asked = of(shown).search.count(count("docs", None)).await;
        assert_eq!(
            heard.answer("who is not known", asked),
            Code::Unauthenticated
        );
        let (code, page) = http_get(http, &format!("/metrics?token={shown}")).await;
        assert_eq!(code, 401);
        heard.text("/metrics without a key", page);
    }
    // Until the stores have been asked, and have told.
    until_some(async || {
        let topology = root.cluster.get_topology(GetTopologyRequest {}).await;
        let connections = topology.unwrap().into_inner().connections;
        let mut stores = connections.iter().filter(|c| c.name != "primary");
        stores.all(|c| !c.last_error.is_empty()).then_some(())
    })
    .await;
    let told = root.cluster.get_topology(GetTopologyRequest {}).await;
    heard.answer("GetTopology", told);
    for path in ["/metrics", "/health/deep"] {
        let key = format!(
            "authorization: Bearer {}",
            secret("the text of the metrics")
        );
        let (code, page) = http_get_with(http, path, &key).await;
        assert!(code == 200 || code == 503, "{code}");
        heard.text(path, page);
    }
    for path in ["/health", "/readyz", "/nosuch"] {
        heard.text(path, http_get(http, path).await.1);
    }
    commands(&mut heard, folder.path(), &files.config).await;
    let log = server.process.log();
    assert!(log.contains("s3-telltale"), "the stores are in the log");
    heard.text("the log", log);
    let audit = fs::read_to_string(folder.path().join("audit/audit.jsonl")).unwrap();
    heard.text("the audit log", audit);

    let mut secrets = KEPT.to_vec();
    secrets.push(("a value of a row", VALUE));
    secrets.extend(SHOWN.map(|shown| ("what was shown", shown)));
    secrets.extend(files.keys.iter().map(|(name, key)| (*name, key.as_str())));
    heard.must_not_tell(&secrets);
}

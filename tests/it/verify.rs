//! `lancegate verify`: it finds what was broken on purpose, names it, and finds
//! nothing else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use lancegate::proto::v1::*;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    copying::copy_tree,
    data::{ipc, packages, small},
    place,
    process::{self, Ended},
    server::{TestServer, settings},
};

/// What `verify` ended with, and its JSON.
struct Verified {
    code: i32,
    json: Value,
    err: String,
}

impl Verified {
    /// The kinds of a class, each with its connection and file.
    fn found(&self, class: &str) -> Vec<(String, String, String)> {
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = self.json[class].as_array().unwrap().iter();
        findings
            .map(|f| (text(f, "kind"), text(f, "connection"), text(f, "file")))
            .collect()
    }

    fn kinds(&self, class: &str) -> Vec<String> {
        self.found(class).into_iter().map(|found| found.0).collect()
    }

    /// A figure of all that was compared.
    fn sum(&self, key: &str) -> u64 {
        let compared = self.json["compared"].as_array().unwrap();
        compared.iter().map(|c| c[key].as_u64().unwrap()).sum()
    }
}

async fn verify(folder: &Path, replicas: usize, args: &[&str]) -> Verified {
    let args: Vec<&str> = ["verify", "--json"].iter().chain(args).copied().collect();
    let Ended { code, out, err } = process::run(process::command(folder, replicas, &args)).await;
    Verified {
        code: code.expect("no signal"),
        json: serde_json::from_str(&out).unwrap_or(Value::Null),
        err,
    }
}

async fn index(server: &mut TestServer, table: &str, column: &str, kind: index_spec::Kind) {
    let request = CreateIndexRequest {
        table: table.into(),
        columns: vec![column.into()],
        index: Some(IndexSpec { kind: Some(kind) }),
        name: String::new(),
        replace: None,
    };
    server.table.create_index(request).await.unwrap();
}

/// Stops the server and keeps its folders.
async fn stopped(server: TestServer) -> TempDir {
    server.app.stop().await.unwrap();
    server.folder
}

/// A table `t` with an index and deleted rows, in several versions, on a primary
/// and its replicas.
async fn copies(replicas: usize) -> TempDir {
    let mut server = TestServer::start(replicas).await;
    server.table_of("t", ipc(&small(0, 400))).await;
    server.insert("t", 400, 50).await;
    let btree = index_spec::Kind::Btree(BTreeIndex {});
    index(&mut server, "t", "id", btree).await;
    let filter = Filter {
        sql: "id < 7".into(),
        params: Vec::new(),
    };
    let request = DeleteRequest {
        request_id: String::new(),
        table: "t".into(),
        filter: Some(filter),
    };
    server.write.delete(request).await.unwrap();
    server.settled().await;
    stopped(server).await
}

/// The largest file in a folder of the table, at a connection, and its name as
/// a report has it.
fn largest(folder: &Path, connection: &str, part: &str) -> (PathBuf, String) {
    let table = folder.join(connection).join("t.lance");
    let path = place::entries(&table.join(part)).remove(0);
    let name = path.strip_prefix(&table).unwrap().display().to_string();
    (path, name)
}

/// Changes one bit of a file, in the middle of these bytes if they are given.
fn flip(path: &Path, within: Option<&[u8]>) {
    let mut bytes = place::read(path).unwrap();
    let at = match within {
        None => bytes.len() / 2,
        Some(part) => bytes
            .windows(part.len())
            .position(|window| window == part)
            .expect("the bytes to change"),
    };
    bytes[at] ^= 1;
    place::write(path, &bytes);
}

fn at(kind: &str, connection: &str, file: &str) -> Vec<(String, String, String)> {
    vec![(kind.into(), connection.into(), file.into())]
}

#[tokio::test(flavor = "multi_thread")]
async fn true_copies_have_no_difference() {
    let folder = copies(2).await;
    let before = everything(folder.path());
    let all = ["--rows", "--queries", "30"];
    let verified = verify(folder.path(), 2, &all).await;
    assert_eq!(verified.code, 0, "{}{}", verified.json, verified.err);
    assert_eq!(verified.json["same"], true);
    assert!(verified.kinds("differences").is_empty());
    // Two replicas, each compared as a whole.
    assert_eq!(verified.sum("rows"), 2 * 443);
    assert_eq!(verified.sum("queries"), 2 * 30);
    assert_eq!(verified.sum("checked_bytes"), verified.sum("bytes"));
    assert!(verified.sum("versions") >= 2, "{}", verified.json);
    assert!(verified.sum("files") > 10, "{}", verified.json);
    assert_eq!(everything(folder.path()), before, "it wrote something");

    // And in words.
    let words = process::run(process::command(folder.path(), 2, &["verify"])).await;
    assert_eq!(words.code, Some(0), "{words:?}");
    assert!(words.out.ends_with("\nno difference\n"), "{words:?}");
    assert!(words.err.is_empty(), "{words:?}");
}

/// Every file of the places with its size and when it was written, and on a local disk
/// every folder too, which tells of files that came and went.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u64, DateTime<Utc>)> {
    let files = place::metas(folder).into_iter();
    let mut found: BTreeMap<_, _> = files
        .map(|(name, meta)| (folder.join(name), (meta.size, meta.last_modified)))
        .collect();
    folders(folder, &mut found);
    found
}

fn folders(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, DateTime<Utc>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            let modified = meta.modified().unwrap();
            found.insert(entry.path(), (meta.len(), modified.into()));
            folders(&entry.path(), found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_bit_is_found_by_checksums_rows_and_answers() {
    let folder = copies(2).await;
    let (path, name) = largest(folder.path(), "replica-2", "data");
    // The vector of row 100: 400, 401, 402, 403.
    let vector: Vec<u8> = (400..404u16)
        .flat_map(|x| f32::from(x).to_le_bytes())
        .collect();
    flip(&path, Some(&vector));
    let verified = verify(folder.path(), 2, &[]).await;
    assert_eq!(verified.code, 1, "{}", verified.err);
    assert_eq!(
        verified.found("differences"),
        at("content", "replica-2", &name)
    );
    let words = process::run(process::command(folder.path(), 2, &["verify"])).await;
    assert_eq!(words.code, Some(1));
    assert!(words.out.contains("content"), "{words:?}");
    assert!(words.out.ends_with("\n1 difference\n"), "{words:?}");

    // Sizes say nothing of it; readers do.
    let off = ["--checksums", "off"];
    assert_eq!(verify(folder.path(), 2, &off).await.code, 0);
    let rows = verify(folder.path(), 2, &["--checksums", "off", "--rows"]).await;
    assert_eq!(rows.code, 1, "{}", rows.err);
    assert_eq!(rows.found("differences"), at("rows", "replica-2", ""));
    let detail = rows.json["differences"][0]["detail"].as_str().unwrap();
    // Rows 0 to 6 are deleted.
    assert_eq!(detail, "row 93 (from 0) differs in vector");
    let all = ["--checksums", "off", "--queries", "443"];
    let answers = verify(folder.path(), 2, &all).await;
    assert_eq!(answers.code, 1, "{}", answers.err);
    assert_eq!(answers.found("differences"), at("answers", "replica-2", ""));
    // The other replica is true, and was asked as well.
    let only = ["--rows", "--replica", "replica-1"];
    let other = verify(folder.path(), 2, &only).await;
    assert_eq!(other.code, 0, "{}", other.json);
    assert_eq!(other.json["compared"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_and_manifests_are_named() {
    let folder = copies(1).await;
    let original = folder.path().join("replica-1");
    let keep = folder.path().join("kept");
    let copy = |from: &Path, to: &Path| copy_tree(from, to, &|_| true);
    copy(&original, &keep);
    let verified = async |kind: &str, name: &str| {
        let verified = verify(folder.path(), 1, &["--rows"]).await;
        assert_eq!(verified.code, 1, "{kind} {name}: {}", verified.err);
        let found = verified.found("differences");
        let expected = at(kind, "replica-1", name);
        assert!(
            found.contains(&expected[0]),
            "{found:?} without {expected:?}"
        );
        // The file is named once; reading its rows may fail as well.
        assert!(
            found.iter().all(|f| *f == expected[0] || f.0 == "rows"),
            "{found:?}"
        );
        place::remove(&original);
        copy(&keep, &original);
    };

    let (path, name) = largest(folder.path(), "replica-1", "data");
    place::remove(&path);
    verified("missing", &name).await;

    let (path, name) = largest(folder.path(), "replica-1", "data");
    let bytes = place::read(&path).unwrap();
    place::write(&path, &bytes[..bytes.len() - 1]);
    verified("size", &name).await;

    let indexes = original.join("t.lance/_indices");
    let index = place::entries(&indexes).remove(0);
    let id = index.file_name().unwrap().to_string_lossy().into_owned();
    let (path, name) = largest(folder.path(), "replica-1", &format!("_indices/{id}"));
    flip(&path, None);
    verified("content", &name).await;

    place::write(&index.join("more.idx"), b"?");
    verified("extra", &format!("_indices/{id}/more.idx")).await;

    let (path, name) = largest(folder.path(), "replica-1", "_deletions");
    place::remove(&path);
    verified("missing", &name).await;

    let (path, name) = largest(folder.path(), "replica-1", "_transactions");
    flip(&path, None);
    verified("content", &name).await;

    let (path, name) = largest(folder.path(), "replica-1", "_versions");
    flip(&path, None);
    verified("manifest", &name).await;

    let (path, name) = largest(folder.path(), "replica-1", "_versions");
    place::write(&path, b"");
    verified("manifest", &name).await;

    // All of it is back, and the same again.
    assert_eq!(verify(folder.path(), 1, &["--rows"]).await.code, 0);

    let (path, name) = largest(folder.path(), "primary", "data");
    place::remove(&path);
    let own = verify(folder.path(), 1, &[]).await;
    assert_eq!(own.code, 1, "{}", own.err);
    assert_eq!(own.found("differences"), at("missing", "primary", &name));
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_no_difference_but_to_the_strict() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 20))).await;
    let folder = stopped(server).await;
    // The replica is off for a while.
    let alone = settings(folder.path(), 0);
    let mut server = TestServer::start_with(folder, alone).await;
    server.insert("t", 20, 5).await;
    server.insert("t", 25, 5).await;
    server.table_of("other", ipc(&small(0, 3))).await;
    let tag = CreateTagRequest {
        table: "t".into(),
        tag: Some(Tag {
            name: "first".into(),
            version: 1,
        }),
    };
    server.table.create_tag(tag).await.unwrap();
    let folder = stopped(server).await;
    let behind = verify(folder.path(), 1, &["--rows", "--queries", "10"]).await;
    assert_eq!(behind.code, 0, "{}{}", behind.json, behind.err);
    assert_eq!(behind.kinds("lag"), ["behind", "no_table", "tag"]);
    assert_eq!(behind.json["lag"][0]["versions"], "2-3");
    // At the version that both have.
    assert_eq!((behind.sum("rows"), behind.sum("queries")), (20, 10));
    let strict = verify(folder.path(), 1, &["--strict"]).await;
    assert_eq!(strict.code, 1);
    assert_eq!(strict.json["same"], false);
    // Less is asked for than is behind.
    let args = ["--table", "other", "--replica", "replica-1"];
    assert_eq!(
        verify(folder.path(), 1, &args).await.kinds("lag"),
        ["no_table"]
    );

    // A replica that is ahead is no copy.
    let swapped = folder.path().join("swapped");
    for (from, to) in [("primary", "replica-1"), ("replica-1", "primary")] {
        copy_tree(&folder.path().join(from), &swapped.join(to), &|_| true);
    }
    let ahead = verify(&swapped, 1, &[]).await;
    assert_eq!(ahead.code, 1, "{}", ahead.err);
    assert_eq!(ahead.kinds("differences"), ["ahead"]);
    assert_eq!(ahead.kinds("lag"), ["dropped", "tag"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_primary_pruned_is_not_comparable() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 20))).await;
    for i in 0..3 {
        server.insert("t", 20 + i, 1).await;
        server.settled().await;
    }
    let compact = OptimizeTableRequest {
        table: "t".into(),
        compact: true,
        indexes: false,
        prune_older_than: Some(prost_types::Duration::default()),
    };
    let optimized = server.table.optimize_table(compact).await.unwrap();
    assert!(optimized.into_inner().versions_removed >= 3);
    server.settled().await;
    let folder = stopped(server).await;
    let pruned = verify(folder.path(), 1, &["--rows"]).await;
    assert_eq!(pruned.code, 0, "{}{}", pruned.json, pruned.err);
    assert_eq!(pruned.kinds("not_comparable"), ["pruned"]);
    assert!(pruned.kinds("differences").is_empty());
    assert_eq!(pruned.sum("rows"), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_table_of_the_same_name_is_behind() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 20))).await;
    server.insert("t", 20, 1).await;
    server.settled().await;
    let folder = stopped(server).await;
    let alone = settings(folder.path(), 0);
    let mut server = TestServer::start_with(folder, alone).await;
    let drop = DropTableRequest {
        table: "t".into(),
        ignore_missing: false,
    };
    server.table.drop_table(drop).await.unwrap();
    server.table_of("t", ipc(&small(500, 7))).await;
    let folder = stopped(server).await;
    let earlier = verify(folder.path(), 1, &["--rows"]).await;
    assert_eq!(earlier.code, 0, "{}{}", earlier.json, earlier.err);
    assert_eq!(earlier.kinds("lag"), ["recreated"]);
    assert_eq!(earlier.sum("rows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_a_file_go_through_the_index() {
    let mut server = TestServer::start(2).await;
    server.table_of("packages", ipc(&packages())).await;
    let ivf = IvfOptions {
        num_partitions: 8,
        max_iterations: 5,
        ..Default::default()
    };
    let pq = PqOptions {
        num_sub_vectors: 48,
        num_bits: 4,
    };
    let kind = index_spec::Kind::IvfPq(IvfPqIndex {
        ivf: Some(ivf),
        pq: Some(pq),
    });
    index(&mut server, "packages", "vector", kind).await;
    server.settled().await;
    let folder = stopped(server).await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/package_queries.parquet");
    let args = ["--checksums", "off", "--queries", file.to_str().unwrap()];
    let verified = verify(folder.path(), 2, &args).await;
    assert_eq!(verified.code, 0, "{}{}", verified.json, verified.err);
    assert_eq!(verified.sum("queries"), 2 * 200);
    println!("{} of 400 with ties", verified.sum("ties"));

    // One replica searches another index: its files, but those of its index,
    // are the primary's.
    let root = folder.path().join("replica-2/packages.lance/_indices");
    let index = place::entries(&root).remove(0);
    let path = place::entries(&index).remove(0);
    let mut bytes = place::read(&path).unwrap();
    let middle = bytes.len() / 4..bytes.len() / 2;
    bytes[middle].iter_mut().for_each(|byte| *byte ^= 0x11);
    place::write(&path, &bytes);
    let verified = verify(folder.path(), 2, &args).await;
    assert_eq!(verified.code, 1, "{}{}", verified.json, verified.err);
    assert_eq!(
        verified.found("differences"),
        at("answers", "replica-2", "")
    );

    // Vectors that no column takes.
    let args = ["--queries", "5", "--vector-column", "title"];
    let refused = verify(folder.path(), 2, &args).await;
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("vector column"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_no_success() {
    let folder = copies(2).await;
    place::remove(&folder.path().join("replica-2"));
    let partly = verify(folder.path(), 2, &[]).await;
    assert_eq!(partly.code, 2, "{}", partly.json);
    assert!(partly.err.contains("error: replica-2"), "{}", partly.err);
    assert_eq!(partly.json["same"], false);
    // What is there is compared all the same, and nothing is made up.
    assert_eq!(partly.json["compared"].as_array().unwrap().len(), 1);
    assert!(!place::exists(&folder.path().join("replica-2")));
    let (path, name) = largest(folder.path(), "replica-1", "data");
    flip(&path, None);
    let verified = verify(folder.path(), 2, &[]).await;
    assert_eq!(verified.code, 1, "{}", verified.json);
    assert_eq!(
        verified.found("differences"),
        at("content", "replica-1", &name)
    );
    assert!(
        verified.err.contains("error: replica-2"),
        "{}",
        verified.err
    );

    for (args, words) in [
        (
            &["--table", "nothing"][..],
            "no connection has a table 'nothing'",
        ),
        (&["--table", "../t"], "may only have letters"),
        (
            &["--replica", "replica-9"],
            "there is no replica 'replica-9'",
        ),
        (&["--queries", "0"], "at least 1"),
        (&["--queries", "nothing.parquet"], "nothing.parquet"),
        (&["--limit", "5"], "--queries"),
    ] {
        let refused = verify(folder.path(), 1, args).await;
        assert_eq!(refused.code, 2, "{args:?}");
        assert!(refused.err.contains(words), "{args:?}: {}", refused.err);
    }
    let alone = verify(folder.path(), 0, &[]).await;
    assert_eq!(alone.code, 2);
    assert!(alone.err.contains("has no replicas"), "{}", alone.err);
    place::remove(&folder.path().join("primary"));
    let headless = verify(folder.path(), 1, &[]).await;
    assert_eq!(headless.code, 2);
    assert!(headless.err.contains("'primary'"), "{}", headless.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_in_use_causes_no_false_alarm() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 50))).await;
    let (mut write, mut table) = (server.write.clone(), server.table.clone());
    let writer = tokio::spawn(async move {
        for i in 0i64.. {
            let rows = Some(ipc(&small(50 + i, 1)));
            let insert = InsertRequest {
                request_id: String::new(),
                table: "t".into(),
                rows,
                mode: 0,
            };
            write.insert(insert).await.unwrap();
            if i % 10 == 9 {
                let compact = OptimizeTableRequest {
                    table: "t".into(),
                    compact: true,
                    indexes: false,
                    prune_older_than: Some(prost_types::Duration::default()),
                };
                // Another commit may win.
                let _ = table.optimize_table(compact).await;
            }
            if i % 35 == 34 {
                let drop = DropTableRequest {
                    table: "t".into(),
                    ignore_missing: false,
                };
                table.drop_table(drop).await.unwrap();
                let create = CreateTableRequest {
                    table: "t".into(),
                    source: Some(create_table_request::Source::Rows(ipc(&small(0, 50)))),
                    exist_ok: false,
                };
                table.create_table(create).await.unwrap();
            }
        }
    });
    let (mut compared, mut alarms) = (0, Vec::new());
    for _ in 0..10 {
        let verified = verify(server.folder.path(), 2, &[]).await;
        match verified.code {
            0 => compared += verified.sum("versions"),
            _ => alarms.push(format!("{}{}", verified.json, verified.err)),
        }
    }
    // Two looks that see the same of a table which was created anew tell of a
    // difference: a copier that stands still for that long is behind by all of it.
    assert!(alarms.len() < 2, "{alarms:#?}");
    println!("{compared} versions were compared while they were written");
    assert!(compared > 0);
    assert!(!writer.is_finished(), "nobody wrote");
    writer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_while_the_primary_is_written() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 400))).await;
    let (path, name) = largest(server.folder.path(), "replica-1", "data");
    flip(&path, None);
    let mut write = server.write.clone();
    let writer = tokio::spawn(async move {
        for i in 0i64.. {
            let insert = InsertRequest {
                request_id: String::new(),
                table: "t".into(),
                rows: Some(ipc(&small(400 + i, 1))),
                mode: 0,
            };
            write.insert(insert).await.unwrap();
        }
    });
    let verified = verify(server.folder.path(), 1, &[]).await;
    assert_eq!(verified.code, 1, "{}{}", verified.json, verified.err);
    assert_eq!(
        verified.found("differences"),
        at("content", "replica-1", &name)
    );
    assert!(!writer.is_finished(), "nobody wrote");
    writer.abort();
}

//! Tables with blob columns: what is in side files is copied, checked and pruned
//! with the versions that need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{
        ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch,
        RecordBatchIterator,
    },
    datatypes::{DataType, Field, Schema, UInt8Type},
};
use lance::{
    BlobArrayBuilder, BlobFieldOptions, blob_field_with_options,
    dataset::{
        Dataset, WriteMode, WriteParams,
        optimize::{CompactionOptions, compact_files},
    },
};
use lancegate::{config::ReplicaMode, proto::v1::*};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    copying::{copy_tree, refusal},
    data::{batch, floats, ids, url},
    place, process,
    server::{TestServer, settings, settings_with},
};

/// Larger blobs are in files of their own, smaller ones share a file.
const DEDICATED: usize = 200_000;

/// One blob.
enum Blob {
    /// This many bytes, different for each row.
    Bytes(usize),
    Null,
    /// Somewhere else.
    At(String),
}

/// What every batch of a table has: in the data file, in a shared side file, in
/// one of its own, and nothing.
fn all_kinds() -> Vec<Blob> {
    let packed = [70_000, 90_000].map(Blob::Bytes);
    let mut blobs = vec![Blob::Bytes(1_000), Blob::Bytes(0), Blob::Null];
    blobs.extend(packed);
    blobs.push(Blob::Bytes(DEDICATED + 5_000));
    blobs
}

fn bytes(id: i64, size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| (i as i64 * 31 + id * 7 + 1) as u8)
        .collect()
}

/// Rows from `first` on, each with an id, a vector of 2, and one of these blobs.
fn rows(first: i64, blobs: &[Blob]) -> RecordBatch {
    let last = first + blobs.len() as i64;
    let mut column = BlobArrayBuilder::new(blobs.len());
    for (id, blob) in (first..).zip(blobs) {
        match blob {
            Blob::Bytes(0) => column.push_empty().unwrap(),
            Blob::Bytes(size) => column.push_bytes(bytes(id, *size)).unwrap(),
            Blob::Null => column.push_null().unwrap(),
            Blob::At(uri) => column.push_uri(uri).unwrap(),
        }
    }
    let options = BlobFieldOptions {
        dedicated_size_threshold: NonZeroUsize::new(DEDICATED),
        ..Default::default()
    };
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let values = Float32Array::from_iter_values((first..last).flat_map(|id| [id as f32, 1.0]));
    let vectors = FixedSizeListArray::new(Arc::clone(&item), 2, Arc::new(values), None);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("vector", DataType::FixedSizeList(item, 2), true),
        blob_field_with_options("blob", true, options),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(first..last)),
        Arc::new(vectors),
        column.finish().unwrap(),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn table_of(place: &Path) -> String {
    url(&place.join("t.lance"))
}

/// Writes these rows as a new table `t`, or as more of one.
async fn write(place: &Path, mode: WriteMode, rows: RecordBatch) {
    let params = WriteParams {
        mode,
        data_storage_version: Some("2.2".parse().unwrap()),
        allow_external_blob_outside_bases: true,
        ..Default::default()
    };
    let schema = rows.schema();
    let reader = RecordBatchIterator::new([Ok(rows)], schema);
    Dataset::write(reader, table_of(place).as_str(), Some(params))
        .await
        .unwrap();
}

async fn open(place: &Path) -> Dataset {
    Dataset::open(&table_of(place)).await.unwrap()
}

/// All blobs of a version, by the id of their rows.
async fn read(place: &Path, version: Option<u64>) -> BTreeMap<i64, Option<Vec<u8>>> {
    let mut table = open(place).await;
    if let Some(version) = version {
        table = table.checkout_version(version).await.unwrap();
    }
    let mut scan = table.scan();
    scan.project(&["id"]).unwrap();
    let found = ids(&scan.try_into_batch().await.unwrap());
    let rows: Vec<u64> = (0..found.len() as u64).collect();
    let table = Arc::new(table);
    let blobs = table.take_blobs_by_indices(&rows, "blob").await.unwrap();
    assert_eq!(blobs.len(), found.len());
    let mut read = BTreeMap::new();
    for (id, blob) in found.into_iter().zip(blobs) {
        let bytes = match blob {
            Some(blob) => Some(blob.read().await.unwrap().to_vec()),
            None => None,
        };
        read.insert(id, bytes);
    }
    read
}

/// The side files of `t` at a place, relative to the table's folder.
fn side_files(at: &Path) -> BTreeSet<PathBuf> {
    let names = place::files(&at.join("t.lance/data")).into_keys();
    let aside = names.filter(|name| name.contains('/'));
    aside.map(|name| Path::new("data").join(name)).collect()
}

/// Waits until the first replica serves the newest version that the primary has.
async fn copied(server: &mut TestServer) {
    let newest = open(&server.folder.path().join("primary")).await;
    let newest = newest.version().version;
    for _ in 0..place::looks(600) {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let replica = topology.unwrap().into_inner().connections.remove(1);
        if replica.tables.iter().any(|t| t.version == newest) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("version {newest} was not copied");
}

/// What `verify` finds: the kind and the file of each difference.
async fn differences(folder: &Path) -> Vec<(String, String)> {
    let command = process::command(folder, 1, &["verify", "--json"]);
    let ended = process::run(command).await;
    let json: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let found = json["differences"].as_array().unwrap().iter();
    let found: Vec<_> = found.map(|f| (text(f, "kind"), text(f, "file"))).collect();
    assert_eq!(ended.code, Some(i32::from(!found.is_empty())), "{json}");
    let compared = json["compared"].as_array().unwrap();
    assert!(!compared.is_empty(), "{json}");
    found
}

/// Compacts the primary's table. Answers how many fragments that took away.
async fn compact(place: &Path) -> usize {
    let mut table = open(place).await;
    let options = CompactionOptions::default();
    let compacted = compact_files(&mut table, options, None).await.unwrap();
    compacted.fragments_removed
}

fn assert_none(found: Vec<(String, String)>) {
    assert!(found.is_empty(), "{found:?}");
}

/// Waits until the table has an error on the first replica with these words. It
/// is not served then.
async fn until_refused(server: &mut TestServer, words: &str) {
    let mut error = String::new();
    for _ in 0..place::looks(300) {
        error = refusal(server, "t").await;
        if error.contains(words) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is refused with {error}, not {words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_copied_verified_and_pruned_with_their_versions() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    let replica = folder.path().join("replica-1");
    write(&primary, WriteMode::Create, rows(0, &all_kinds())).await;
    // Packed ones share a file.
    assert_eq!(side_files(&primary).len(), 2);

    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    copied(&mut server).await;
    assert_eq!(read(&replica, None).await, read(&primary, None).await);
    write(&primary, WriteMode::Append, rows(10, &all_kinds())).await;
    copied(&mut server).await;
    assert_eq!(side_files(&replica).len(), 4);
    open(&primary).await.delete("id = 5").await.unwrap();
    copied(&mut server).await;
    let deleted = read(&primary, None).await;
    assert_eq!(deleted.len(), 11);
    assert_eq!(deleted[&15], Some(bytes(15, DEDICATED + 5_000)));
    assert_eq!(deleted[&2], None);
    assert_eq!(read(&replica, None).await, deleted);
    // It was deleted, and an older version has it.
    assert_eq!(read(&replica, Some(1)).await.len(), 6);
    assert_eq!(read(&replica, Some(1)).await, read(&primary, Some(1)).await);

    assert_eq!(compact(&primary).await, 2);
    copied(&mut server).await;
    assert_eq!(read(&replica, None).await, deleted);
    assert_eq!(side_files(&replica), side_files(&primary));
    let all = side_files(&primary);

    let folder = server.folder;
    server.app.stop().await.unwrap();
    assert_none(differences(folder.path()).await);
    // One is lost, and one bit of another.
    let [lost, damaged]: [&PathBuf; 2] = all.iter().take(2).collect::<Vec<_>>().try_into().unwrap();
    let at = |file: &Path| replica.join("t.lance").join(file);
    let (whole, good) = (
        place::read(&at(lost)).unwrap(),
        place::read(&at(damaged)).unwrap(),
    );
    place::remove(&at(lost));
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    place::write(&at(damaged), &bad);
    let mut found = differences(folder.path()).await;
    found.sort();
    let of = |kind: &str, file: &Path| (kind.to_owned(), file.display().to_string());
    assert_eq!(found, [of("content", damaged), of("missing", lost)]);
    place::write(&at(lost), &whole);
    place::write(&at(damaged), &good);

    // Old versions go, on both sides, and what the newest ones need stays. A
    // file that no version ever had is swept up.
    place::write(
        &at(Path::new("data/gone/0.blob")),
        b"left by a killed process",
    );
    let config = settings_with(
        folder.path(),
        1,
        &[
            ("LANCEGATE_REPLICATION__LEASE", "true"),
            ("LANCEGATE_RETENTION__ENABLED", "true"),
            ("LANCEGATE_RETENTION__MAX_AGE", "0s"),
            ("LANCEGATE_RETENTION__MIN_VERSIONS", "1"),
            ("LANCEGATE_RETENTION__INTERVAL", "100ms"),
        ],
    );
    let mut server = TestServer::start_with(folder, config).await;
    for _ in 0..place::looks(600) {
        if side_files(&primary).len() < all.len() && side_files(&replica) == side_files(&primary) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kept = side_files(&replica);
    assert!(!kept.is_empty() && kept.len() < all.len(), "{kept:?}");
    assert_eq!(kept, side_files(&primary));
    assert_eq!(read(&replica, None).await, deleted);
    assert_eq!(read(&primary, None).await, deleted);
    // Once more, after the first sweep.
    write(&primary, WriteMode::Append, rows(20, &all_kinds())).await;
    copied(&mut server).await;
    assert_eq!(read(&replica, None).await, read(&primary, None).await);
    let folder = server.folder;
    server.app.stop().await.unwrap();
    assert_none(differences(folder.path()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_has_its_blobs_though_newer_ones_have_no_such_column() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    let replica = folder.path().join("replica-1");
    // More data files than are listed one by one.
    write(&primary, WriteMode::Create, rows(0, &all_kinds()[4..])).await;
    for i in 1..20 {
        let more = rows(i * 10, &all_kinds()[4..]);
        write(&primary, WriteMode::Append, more).await;
    }
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    copied(&mut server).await;
    assert_eq!(side_files(&replica), side_files(&primary));
    assert_eq!(read(&replica, None).await.len(), 40);
    let folder = server.folder;
    server.app.stop().await.unwrap();

    write(&primary, WriteMode::Append, rows(200, &all_kinds())).await;
    let with = open(&primary).await.version().version;
    let mut table = open(&primary).await;
    table.drop_columns(&["blob"]).await.unwrap();
    assert!(compact(&primary).await > 20);
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    copied(&mut server).await;
    let expected = read(&primary, Some(with)).await;
    assert_eq!(expected.len(), 46);
    assert_eq!(read(&replica, Some(with)).await, expected);
    let folder = server.folder;
    server.app.stop().await.unwrap();
    assert_none(differences(folder.path()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_copy_without_a_side_file_is_not_served() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    let replica = folder.path().join("replica-1");
    write(&primary, WriteMode::Create, rows(0, &all_kinds())).await;
    let mut config = settings(folder.path(), 1);
    config.replicas[0].mode = ReplicaMode::External;
    let mut server = TestServer::start_with(folder, config).await;
    for lacking in side_files(&primary) {
        if place::exists(&replica.join("t.lance")) {
            place::remove(&replica.join("t.lance"));
        }
        let lacks = |path: &Path| !path.ends_with(&lacking);
        copy_tree(&primary.join("t.lance"), &replica.join("t.lance"), &lacks);
        let name = lacking.display().to_string();
        until_refused(&mut server, &name).await;
        // Half of it is not enough.
        let whole = place::read(&primary.join("t.lance").join(&lacking)).unwrap();
        let path = replica.join("t.lance").join(&lacking);
        place::write(&path, &whole[..whole.len() / 2]);
        tokio::time::sleep(Duration::from_millis(600)).await;
        until_refused(&mut server, &name).await;
    }
    copy_tree(&primary.join("t.lance"), &replica.join("t.lance"), &|_| {
        true
    });
    copied(&mut server).await;
    assert_eq!(read(&replica, None).await, read(&primary, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_an_external_blob_is_refused_from_then_on() {
    let folder = TempDir::new().unwrap();
    let elsewhere = folder.path().join("elsewhere.bin");
    place::write(&elsewhere, b"bytes of somebody else");
    let primary = folder.path().join("primary");
    let external = [Blob::Bytes(10), Blob::At(url(&elsewhere))];
    write(&primary, WriteMode::Create, rows(0, &external)).await;
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    until_refused(&mut server, "external blobs").await;
    let replica = server.folder.path().join("replica-1");
    assert!(
        !place::exists(&replica.join("t.lance")),
        "something was copied"
    );
    // Once it has none any more, it is copied.
    let own = [Blob::Bytes(10), Blob::Bytes(DEDICATED + 1)];
    write(&primary, WriteMode::Overwrite, rows(0, &own)).await;
    copied(&mut server).await;
    assert_eq!(read(&replica, None).await, read(&primary, None).await);
    // And refused again with the next one; what is there is still served.
    write(&primary, WriteMode::Append, rows(10, &external)).await;
    for _ in 0..place::looks(600) {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let replica = topology.unwrap().into_inner().connections.remove(1);
        let table = &replica.tables[0];
        if table.last_error.contains("external blobs") {
            assert_eq!(table.version, 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_managed_blobs_is_refused() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    let rows = rows(0, &all_kinds());
    let metadata = [("lance.blob.managed".to_owned(), "true".to_owned())];
    let schema = rows.schema().as_ref().clone();
    let schema = Arc::new(schema.with_metadata(metadata.into()));
    let rows = rows.with_schema(schema).unwrap();
    write(&primary, WriteMode::Create, rows).await;
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    until_refused(&mut server, "managed blobs").await;
}

/// What a reader gets through the server: rows with their blobs' descriptors, from
/// the replica as from the primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_blobs_is_searched_on_a_replica() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    write(&primary, WriteMode::Create, rows(0, &all_kinds())).await;
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    copied(&mut server).await;
    let strong = freshness::Kind::Strong(Strong {});
    let mut answers = Vec::new();
    for (freshness, connection) in [(None, "replica-1"), (Some(strong), "primary")] {
        let query = Query {
            vectors: vec![floats(&[3.2, 1.0])],
            limit: 2,
            ..Default::default()
        };
        let request = SearchRequest {
            table: "t".into(),
            query: Some(query),
            freshness: freshness.map(|kind| Freshness { kind: Some(kind) }),
            row_format: 0,
        };
        let answer = server.search.search(request).await.unwrap().into_inner();
        assert_eq!(answer.served.unwrap().connection, connection);
        answers.push(batch(answer.rows));
    }
    assert_eq!(ids(&answers[0])[0], 3);
    let blobs = answers[0].column_by_name("blob").unwrap();
    let packed = blobs.as_struct().column_by_name("kind").unwrap();
    assert_eq!(packed.as_primitive::<UInt8Type>().value(0), 1);
    assert_eq!(answers[0], answers[1]);
}

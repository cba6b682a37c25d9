//! The call that an import makes, seen from the other end of a real connection.

use std::{fs, path::Path, sync::Arc};

use arrow::array::{Int64Array, RecordBatch};
use clap::Parser;
use http_body_util::BodyExt;
use tokio::sync::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, body::Body};
use tower::util::MapRequestLayer;

use super::*;
use crate::{
    cli::{Cli, table::decode},
    proto::v1::write_service_server::{WriteService, WriteServiceServer},
};

/// How a stream of requests came to an end.
#[derive(Debug, Clone, PartialEq)]
enum End {
    /// With these messages, rows and table.
    Whole(usize, usize, String),
    CutOff,
}

/// The writing end of a server that only counts.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Vec<End>>>);

#[tonic::async_trait]
impl WriteService for Counting {
    async fn import(
        &self,
        request: Request<Streaming<v1::ImportRequest>>,
    ) -> Result<Response<v1::ImportResponse>, Status> {
        let ends = self.0.clone();
        // A task of its own: a reset call drops this future.
        let counting = tokio::spawn(async move {
            let mut stream = request.into_inner();
            let (mut messages, mut rows, mut table) = (0, 0, String::new());
            let end = loop {
                match stream.message().await {
                    Ok(Some(message)) => {
                        messages += 1;
                        table.push_str(&message.table);
                        let batches = decode(message.arrow_ipc).unwrap();
                        rows += batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
                    }
                    Ok(None) => break End::Whole(messages, rows, table),
                    Err(_) => break End::CutOff,
                }
            };
            ends.lock().await.push(end);
            rows
        });
        let rows = counting
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::ImportResponse {
            num_inserted_rows: rows as u64,
            ..Default::default()
        }))
    }

    async fn insert(
        &self,
        _: Request<v1::InsertRequest>,
    ) -> Result<Response<v1::InsertResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn upsert(
        &self,
        _: Request<v1::UpsertRequest>,
    ) -> Result<Response<v1::UpsertResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn update(
        &self,
        _: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// tonic takes a reset with the code CANCEL for the end of a request stream; a
/// server that must know one from the other gives the reset another code.
fn tell_resets(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| Body::new(body.map_err(|_| Status::aborted("reset by the client"))))
}

/// Imports files into a counting server.
async fn import(files: &[&Path], arguments: &[&str]) -> (Result<(), CliError>, Vec<End>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let counting = Counting::default();
    let server = tonic::transport::Server::builder()
        .layer(MapRequestLayer::new(tell_resets))
        .add_service(WriteServiceServer::new(counting.clone()));
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let mut line = vec!["lancegate", "import", "docs", "--address", &address];
    line.extend(files.iter().map(|file| file.to_str().unwrap()));
    line.extend(arguments);
    let crate::cli::Command::Import(command) = Cli::try_parse_from(line).unwrap().command else {
        panic!("another command");
    };
    let done = command.run().await;
    // The server may hear of a reset a moment later.
    for _ in 0..100 {
        if !counting.0.lock().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.abort();
    let ends = counting.0.lock().await.clone();
    (done, ends)
}

fn json_lines(path: &Path, rows: usize) {
    let row = |i| format!("{{\"id\": {i}, \"v\": [{i}, 0.5]}}\n");
    fs::write(path, (0..rows).map(row).collect::<String>()).unwrap();
}

#[tokio::test]
async fn rows_of_all_files_arrive_in_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1.jsonl"), folder.path().join("2.jsonl"));
    json_lines(&one, 3_000);
    json_lines(&two, 10);
    let (done, ends) = import(&[&one, &two], &["--vector", "v", "--batch-bytes", "16KiB"]).await;
    done.unwrap();
    // 16 bytes a row and two bits: 47 to 48 KiB.
    assert_eq!(ends, [End::Whole(3, 3_010, "docs".into())]);
}

#[tokio::test]
async fn a_broken_file_cuts_the_call_off() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1.jsonl"), folder.path().join("2.jsonl"));
    json_lines(&one, 3_000);
    fs::write(&two, "{\"id\": 1, \"v\": [1, 2]}\nno JSON\n").unwrap();
    let (done, ends) = import(&[&one, &two], &["--vector", "v", "--batch-bytes", "16KiB"]).await;
    let problem = done.unwrap_err().to_string();
    assert!(problem.contains("2.jsonl"), "{problem}");
    assert_eq!(ends, [End::CutOff]);
}

#[tokio::test]
async fn files_of_each_format_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    json_lines(&path("a.jsonl"), 5);
    fs::write(path("a.csv"), "id,v,name\n1,\"[1, 2]\",x\n2,,\"a, b\"\n").unwrap();
    let rows = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)])
        .unwrap();
    let stream = fs::File::create(path("a.arrows")).unwrap();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(stream, &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    let file = fs::File::create(path("a.arrow")).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/packages.parquet");

    for (file, arguments, rows) in [
        (path("a.jsonl"), &["--vector", "v"][..], 5),
        (path("a.csv"), &["--vector", "v"], 2),
        (path("a.arrows"), &[], 3),
        (path("a.arrow"), &[], 3),
        (sample, &["--vector", "vector"], 2_000),
    ] {
        let (done, ends) = import(&[&file], arguments).await;
        done.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(
            matches!(&ends[..], [End::Whole(_, n, _)] if *n == rows),
            "{ends:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused_before_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    json_lines(&path("a.jsonl"), 5);
    fs::write(path("b.xyz"), "").unwrap();
    fs::write(path("c.csv"), "id\n").unwrap();
    fs::write(path("d.parquet"), "no parquet").unwrap();
    for (file, arguments, part) in [
        (path("a.jsonl"), &["--vector", "w"][..], "no column w"),
        (path("a.jsonl"), &["--vector", "id"], "no list of numbers"),
        (path("b.xyz"), &[], "--format"),
        (path("c.csv"), &[], "no rows"),
        (path("d.parquet"), &[], "d.parquet"),
        (path("missing.csv"), &[], "missing.csv"),
    ] {
        let command = import_without_server(&file, arguments).await;
        let problem = command.unwrap_err().to_string();
        assert!(problem.contains(part), "{problem}");
    }
}

/// `load` up to the first call, which there is no server for.
async fn import_without_server(file: &Path, arguments: &[&str]) -> Result<(), CliError> {
    let mut line = vec!["lancegate", "import", "docs", file.to_str().unwrap()];
    line.extend(arguments);
    let crate::cli::Command::Import(command) = Cli::try_parse_from(line).unwrap().command else {
        panic!("another command");
    };
    let nowhere = client::Way::to("127.0.0.1:1", &Default::default())
        .unwrap()
        .connect_lazy();
    command.load(nowhere, None).await
}

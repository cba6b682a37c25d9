//! An import: Arrow IPC messages become one commit, all or nothing.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tonic::{Extensions, Status, Streaming};
use tonic_types::StatusExt;

use super::{
    allowed::allowed,
    api::Api,
    once::owned_id,
    stack::{Allowed, RequestFacts, meaning},
    write::done,
};
use crate::{
    config::AccessRole::{Admin, Writer},
    connection::Lane,
    domain::{
        Done, Error, Position, RequestId, Result, TableName, WriteRequest,
        request::{Digest, WriteKind},
        view::Served,
    },
    proto::v1::ImportRequest,
    wire::{ipc::decode_stream, table::overwrites},
};

/// Batches that wait between the network and the table. Together with the size
/// of a message this bounds an import's memory.
const BATCHES_WAITING: usize = 4;

/// What goes to the table: the rows, and the word that they are complete. A
/// client that goes away never says it, so half an import is never committed.
enum Item {
    Rows(RecordBatch),
    Complete,
}

/// An import whose first message has come.
struct Upload {
    schema: SchemaRef,
    first: Vec<RecordBatch>,
    max_bytes: u64,
    allowed: Allowed,
    bytes: u64,
    /// Of everything that came.
    hasher: blake3::Hasher,
}

/// The side that reads from the client.
struct Feed {
    upload: Upload,
    came: Arc<Came>,
    table: mpsc::Sender<Item>,
}

/// What came from the client.
#[derive(Default)]
struct Came {
    rows: AtomicU64,
    /// Set before the word that the rows are complete.
    digest: OnceLock<Digest>,
}

impl Api {
    /// Imports what a client sends. `name` becomes the table's name as soon as it
    /// is known.
    pub(super) async fn import_rows(
        &self,
        mut stream: Streaming<ImportRequest>,
        extensions: &Extensions,
        name: &mut String,
    ) -> Result<(Done, Served)> {
        let first = first_message(&mut stream).await?;
        name.clone_from(&first.table);
        let scope = allowed(extensions, name, Writer)?;
        let table = TableName::parse(name)?;
        let overwrite = overwrites(first.mode)?;
        if overwrite {
            allowed(extensions, name, Admin)?;
        }
        let id = owned_id(&first.request_id, extensions)?;
        self.before(extensions, name);
        if let (Some(id), Some(facts)) = (&id, extensions.get::<RequestFacts>()) {
            facts.write_id(id);
        }
        let primary = Arc::clone(self.router.primary());
        let route = self.router.write_route()?;
        let allowed = Allowed::of(extensions);
        let upload = Upload::new(&first, self.limits().max_import_bytes, allowed)?;
        let schema = upload.schema();
        let Some(id) = id else {
            let came = Arc::new(Came::default());
            let (feed, batches) = upload.start(Arc::clone(&came));
            // Outside the table's lane: the client sets the pace, and appends
            // conflict with no other write.
            let commit = primary.write(&table, Lane::Beside, move |handle| async move {
                let handle = handle.seen_by(&scope);
                handle.import(schema, batches, overwrite).await
            });
            let (fed, commit) = tokio::join!(feed.run(stream), commit);
            // The cause is what the client should hear, not that it was cut off.
            fed?;
            let (version, incarnation) = commit?;
            let position = Position {
                incarnation,
                version,
            };
            let done = done(version, [came.rows.load(Ordering::Relaxed), 0, 0]);
            let served = self.router.served(route, &table, &position);
            return Ok((done, served));
        };
        if let Some((recorded, incarnation)) = primary.recorded(&table, &id).await? {
            // It was done before, if these are the same rows. They are not written.
            let request = request(id, upload.digest(stream).await?);
            let answer = recorded.answer(&request);
            return self
                .done(&table, async { Ok((answer?, incarnation)) })
                .await;
        }
        let came = Arc::new(Came::default());
        let (feed, batches) = upload.start(Arc::clone(&came));
        // Only the commit is in the lane.
        let commit = primary.write_once_after(&table, move |store, handle| async move {
            let handle = handle.seen_by(&scope);
            let rows = store.stage_import(&handle, schema, batches, overwrite);
            let staged = rows.await?;
            let digest = came.digest.get().copied();
            let digest = digest.ok_or_else(|| Error::Internal("an import has no end".into()))?;
            Ok((request(id, digest), staged))
        });
        let commit = async { self.done(&table, commit).await };
        let (fed, done) = tokio::join!(feed.run(stream), commit);
        fed?;
        done
    }
}

fn request(id: RequestId, digest: Digest) -> WriteRequest {
    WriteRequest {
        id,
        kind: WriteKind::Import,
        digest,
    }
}

/// The first message of an import.
async fn first_message(stream: &mut Streaming<ImportRequest>) -> Result<ImportRequest> {
    next(stream)
        .await?
        .ok_or_else(|| Error::invalid("table", "is required in the first message"))
}

async fn next(stream: &mut Streaming<ImportRequest>) -> Result<Option<ImportRequest>> {
    stream
        .message()
        .await
        .map_err(|status| match status.code() {
            // It was cut off by the quota of whoever sends it.
            tonic::Code::ResourceExhausted if is_quota(&status) => Allowed::large_message(),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
                Error::TooLarge("a message of the import is larger than the server takes".into())
            }
            tonic::Code::InvalidArgument => Error::invalid("request", status.message()),
            code => meaning(code, status.message()).unwrap_or_else(|| Error::Unavailable {
                reason: "CLIENT_GONE",
                message: "the client ended the import before it was complete".into(),
                retry_after: std::time::Duration::ZERO,
            }),
        })
}

fn is_quota(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == "QUOTA_EXCEEDED")
}

impl Upload {
    /// Begins with the first message's rows, which say what the columns are.
    fn new(first: &ImportRequest, max_bytes: u64, allowed: Allowed) -> Result<Self> {
        if first.arrow_ipc.is_empty() {
            return Err(Error::invalid("arrow_ipc", "is required"));
        }
        let (schema, batches) = decode_stream(first.arrow_ipc.clone(), "arrow_ipc")?;
        let mut upload = Self {
            schema,
            first: batches,
            max_bytes,
            allowed,
            bytes: 0,
            hasher: blake3::Hasher::new(),
        };
        upload.hasher.update(&first.mode.to_le_bytes());
        upload.count(&first.arrow_ipc)?;
        Ok(upload)
    }

    /// Notes what came.
    fn count(&mut self, message: &Bytes) -> Result<()> {
        let bytes = message.len() as u64;
        self.bytes += bytes;
        if self.bytes > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        self.hasher.update(&bytes.to_le_bytes());
        self.hasher.update(message);
        Ok(())
    }

    /// Reads to the end of the client's stream and keeps nothing of it but this.
    async fn digest(mut self, mut stream: Streaming<ImportRequest>) -> Result<Digest> {
        while let Some(message) = next(&mut stream).await? {
            self.count(&message.arrow_ipc)?;
        }
        Ok(Digest::of(&self.hasher))
    }

    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The two ends: one reads from the client, the other is the table's input.
    fn start(
        self,
        came: Arc<Came>,
    ) -> (
        Feed,
        impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) {
        let (table, input) = mpsc::channel(BATCHES_WAITING);
        let feed = Feed {
            upload: self,
            came,
            table,
        };
        let batches = stream::unfold(Some(input), |input| async move {
            let mut input = input?;
            match input.recv().await {
                Some(Item::Rows(batch)) => Some((Ok(batch), Some(input))),
                Some(Item::Complete) => None,
                None => Some((Err(cut_off()), None)),
            }
        });
        (feed, batches)
    }
}

fn too_large(max_bytes: u64) -> Error {
    Error::TooLarge(format!("an import may have {max_bytes} bytes"))
}

fn cut_off() -> Error {
    Error::Unavailable {
        reason: "IMPORT_CUT_OFF",
        message: "the import ended before it was complete; nothing was written".into(),
        retry_after: std::time::Duration::ZERO,
    }
}

impl Feed {
    /// Reads to the end of the client's stream. Returning early, or being
    /// dropped, undoes the import.
    async fn run(mut self, mut stream: Streaming<ImportRequest>) -> Result<()> {
        let mut batches = std::mem::take(&mut self.upload.first);
        loop {
            for batch in batches {
                let (rows, more) = (&self.came.rows, batch.num_rows() as u64);
                let before = rows.fetch_add(more, Ordering::Relaxed);
                self.upload.allowed.written(before + more)?;
                if self.table.send(Item::Rows(batch)).await.is_err() {
                    // The table refused the rows and says why itself.
                    return Ok(());
                }
            }
            let Some(message) = next(&mut stream).await? else {
                break;
            };
            self.upload.count(&message.arrow_ipc)?;
            let (schema, next) = decode_stream(message.arrow_ipc, "arrow_ipc")?;
            if schema.fields() != self.upload.schema.fields() {
                let text = "has other columns than the first message";
                return Err(Error::invalid("arrow_ipc", text));
            }
            batches = next;
        }
        let _ = self.came.digest.set(Digest::of(&self.upload.hasher));
        // An error here means that the table has refused the rows already.
        let _ = self.table.send(Item::Complete).await;
        Ok(())
    }
}

//! Clients that write and read at random, and note what they saw.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Int64Type, Schema, UInt64Type},
    ipc::reader::StreamReader,
};
use lancegate::proto::v1::{
    freshness::Kind, search_service_client::SearchServiceClient,
    table_service_client::TableServiceClient, write_service_client::WriteServiceClient, *,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonic::{Code, Status, transport::Channel};

use super::{
    cluster::Cluster,
    history::{Asked, Event, Outcome, Seen},
};
use crate::data::ipc;

/// Rows of each table.
pub const ROWS: usize = 6;
/// Tables.
pub const TABLES: usize = 2;

/// What all clients share.
pub struct World {
    pub cluster: Arc<Cluster>,
    began: Instant,
    values: AtomicI64,
    creations: AtomicU64,
    /// The creation of each table that is there now, 0 for none.
    current: [AtomicU64; TABLES],
    recreate: [tokio::sync::Mutex<()>; TABLES],
    pub history: Mutex<Vec<Event>>,
}

impl World {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            began: Instant::now(),
            values: AtomicI64::new(1),
            creations: AtomicU64::new(1),
            current: Default::default(),
            recreate: Default::default(),
            history: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn value(&self) -> i64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// One client: what it saw last of each table, and the token of that.
pub struct Client {
    id: usize,
    world: Arc<World>,
    random: StdRng,
    last: [Option<(Seen, String)>; TABLES],
}

impl Client {
    pub fn new(id: usize, seed: u64, world: Arc<World>) -> Self {
        Self {
            id,
            world,
            random: StdRng::seed_from_u64(seed.wrapping_add(id as u64)),
            last: Default::default(),
        }
    }

    /// Does so many operations.
    pub async fn run(mut self, operations: usize) {
        for _ in 0..operations {
            let table = self.random.random_range(0..TABLES);
            // One server writes, as the limits of the README say; both are read.
            let writer = self.world.cluster.channel(0);
            let reader = self.world.cluster.channel(self.random.random_range(0..2));
            let began = self.world.now();
            let outcome = match self.random.random_range(0..1000) {
                0..3 => self.recreate(table, writer).await,
                3..250 => self.write(table, writer).await,
                _ => self.read(table, reader).await,
            };
            let Some(outcome) = outcome else { continue };
            let event = Event {
                client: self.id,
                table,
                began,
                ended: self.world.now(),
                outcome,
            };
            self.world.history.lock().unwrap().push(event);
        }
    }

    /// Drops a table and creates it again.
    pub async fn recreate(&mut self, table: usize, channel: Channel) -> Option<Outcome> {
        let world = Arc::clone(&self.world);
        let _one_at_a_time = world.recreate[table].lock().await;
        let mut tables = TableServiceClient::new(channel);
        let drop = DropTableRequest {
            table: name(table),
            ..Default::default()
        };
        world.current[table].store(0, Ordering::SeqCst);
        match tables.drop_table(drop).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Some(refused_or_broken(status)),
        }
        let creation = world.creations.fetch_add(1, Ordering::SeqCst);
        let value = world.value();
        let request = CreateTableRequest {
            table: name(table),
            source: Some(create_table_request::Source::Rows(ipc(&rows(
                creation, value,
            )))),
            exist_ok: false,
        };
        match tables.create_table(request).await {
            Ok(answer) => {
                world.current[table].store(creation, Ordering::SeqCst);
                let answer = answer.into_inner();
                let seen = Seen {
                    creation,
                    value,
                    version: answer.version,
                };
                let served = answer.served.expect("who answered");
                self.last[table] = Some((seen, served.token));
                Some(Outcome::Written(seen))
            }
            Err(_) => Some(Outcome::MaybeWritten { creation, value }),
        }
    }

    async fn write(&mut self, table: usize, channel: Channel) -> Option<Outcome> {
        let creation = self.world.current[table].load(Ordering::SeqCst);
        let value = self.world.value();
        let request = UpdateRequest {
            request_id: String::new(),
            table: name(table),
            filter: Some(Filter {
                sql: "creation = $1".into(),
                params: vec![Value {
                    kind: Some(value::Kind::UintValue(creation)),
                }],
            }),
            assignments: vec![Assignment {
                column: "value".into(),
                to: Some(assignment::To::Expression(value.to_string())),
            }],
        };
        match WriteServiceClient::new(channel).update(request).await {
            // Re-created meanwhile: there is no such row.
            Ok(answer) if answer.get_ref().num_updated_rows == 0 => None,
            Ok(answer) => {
                let answer = answer.into_inner();
                let seen = Seen {
                    creation,
                    value,
                    version: answer.version,
                };
                let served = answer.served.expect("who answered");
                self.last[table] = Some((seen, served.token));
                Some(Outcome::Written(seen))
            }
            Err(_) => Some(Outcome::MaybeWritten { creation, value }),
        }
    }

    async fn read(&mut self, table: usize, channel: Channel) -> Option<Outcome> {
        let (kind, asked) = match (self.random.random_range(0..10), &self.last[table]) {
            (0..7, Some((seen, token))) => (Kind::Token(token.clone()), Asked::Token(*seen)),
            (7, _) => (Kind::Strong(Strong {}), Asked::Strong),
            _ => (Kind::Eventual(Eventual {}), Asked::Eventual),
        };
        let request = ScanRequest {
            table: name(table),
            freshness: Some(Freshness { kind: Some(kind) }),
            row_format: RowFormat::ArrowIpc.into(),
            ..Default::default()
        };
        match SearchServiceClient::new(channel).scan(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let served = answer.served.expect("who answered");
                let rows = decode(answer.rows.expect("rows"));
                if let Some(&(creation, value)) = rows.first() {
                    let seen = Seen {
                        creation,
                        value,
                        version: served.version,
                    };
                    self.last[table] = Some((seen, served.token));
                }
                Some(Outcome::Read {
                    asked,
                    version: served.version,
                    rows,
                })
            }
            Err(status) => {
                if status.code() == Code::FailedPrecondition {
                    // The table was re-created: begin anew.
                    self.last[table] = None;
                }
                if status.code() == Code::Unavailable {
                    // A router that is being restarted refuses at once.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Some(refused_or_broken(status))
            }
        }
    }
}

fn refused_or_broken(status: Status) -> Outcome {
    match status.code() {
        // A file that should have been there.
        Code::Unavailable if status.message().contains("object store") => {
            Outcome::Broken(status.to_string())
        }
        // The table between its end and its new beginning; not one of its files.
        Code::NotFound if status.message().starts_with("table '") => Outcome::Refused,
        Code::Unavailable
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::Aborted
        | Code::DeadlineExceeded => Outcome::Refused,
        // The connection of a killed router.
        Code::Unknown | Code::Cancelled if is_of_the_connection(&status) => Outcome::Refused,
        _ => Outcome::Broken(status.to_string()),
    }
}

fn is_of_the_connection(status: &Status) -> bool {
    ["transport", "h2 protocol error", "broken pipe"]
        .iter()
        .any(|text| status.message().contains(text))
}

fn name(table: usize) -> String {
    format!("t{table}")
}

fn rows(creation: u64, value: i64) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("creation", DataType::UInt64, false),
        Field::new("value", DataType::Int64, false),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(UInt64Array::from(vec![creation; ROWS])),
            Arc::new(Int64Array::from(vec![value; ROWS])),
        ],
    )
    .expect("rows")
}

fn decode(rows: Rows) -> Vec<(u64, i64)> {
    let Some(rows::Format::ArrowIpc(bytes)) = rows.format else {
        panic!("not Arrow IPC");
    };
    let batches = StreamReader::try_new(&bytes[..], None).expect("Arrow IPC");
    batches
        .map(|batch| batch.expect("rows"))
        .flat_map(|batch| {
            let creation = batch["creation"].as_primitive::<UInt64Type>().clone();
            let value = batch["value"].as_primitive::<Int64Type>().clone();
            (0..batch.num_rows())
                .map(move |i| (creation.value(i), value.value(i)))
                .collect::<Vec<_>>()
        })
        .collect()
}

//! What bad input gets: a clear refusal that names the field, quickly, that
//! tells nothing of the server's inside and harms nobody else.

mod filters;
mod names;
mod places;
mod rows;
mod searches;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{
        ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array,
        RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Fields, Float32Type, Schema},
};
use lancegate::{config::Config, proto::v1::*};
use tempfile::TempDir;
use tonic::{Code, Response, Status, transport::Channel};
use tonic_types::StatusExt;

use super::{
    data::ipc,
    server::{TestServer, settings},
};

/// What a refusal may take, also where nothing is optimised.
const QUICK: Duration = Duration::from_secs(5);

/// A text that stands for what a client would not want to see in a log.
const SECRET: &str = "hunter2";

/// Clients, for one call.
#[derive(Clone)]
struct Clients {
    search: search_service_client::SearchServiceClient<Channel>,
    write: write_service_client::WriteServiceClient<Channel>,
    table: table_service_client::TableServiceClient<Channel>,
}

/// A server that is asked badly, and all that was wrong with its answers.
struct Bad {
    server: TestServer,
    /// What no answer may have in it.
    inside: Vec<String>,
    calls: usize,
    faults: Vec<String>,
}

/// Runs a test with stacks as large as the server's own.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 << 20)
        .build()
        .expect("a runtime")
        .block_on(test);
}

impl Bad {
    /// A server with one replica and the tables `t`, with every kind of column,
    /// and `two`, with two vector columns.
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::with_prefix("lance gaté ").expect("a temporary folder");
        let mut config = settings(folder.path(), 1);
        change(&mut config);
        let mut server = TestServer::start_with(folder, config).await;
        server.table_of("t", ipc(&sample())).await;
        server
            .table_of("two", ipc(&sample_without("place", true)))
            .await;
        let place = server.folder.path().display().to_string();
        let unique = server.folder.path().file_name().expect("a name");
        let unique = unique.to_string_lossy().replace("lance gaté ", "");
        Self {
            inside: [&place, &unique, "/src/", ".rs:", "lance-", SECRET]
                .map(str::to_owned)
                .to_vec(),
            server,
            calls: 0,
            faults: Vec::new(),
        }
    }

    fn clients(&self) -> Clients {
        Clients {
            search: self.server.search.clone(),
            write: self.server.write.clone(),
            table: self.server.table.clone(),
        }
    }

    /// The refusal of a call, as far as any refusal must be right. `None` where
    /// the call was answered.
    async fn ask<T>(
        &mut self,
        what: &str,
        call: impl AsyncFn(Clients) -> Result<Response<T>, Status>,
    ) -> Option<Status> {
        self.calls += 1;
        let (mut took, mut answer) = (Duration::MAX, None);
        // The machine may be busy with something else: once is enough.
        for _ in 0..3 {
            let began = Instant::now();
            answer = call(self.clients()).await.err();
            took = took.min(began.elapsed());
            if took < QUICK {
                break;
            }
        }
        if took >= QUICK {
            self.faults.push(format!("{what}: took {took:?}"));
        }
        let status = answer?;
        if let Some(fault) = self.wrong_with(&status) {
            self.faults
                .push(format!("{what}: {fault}: {}", show(&status)));
        }
        Some(status)
    }

    fn wrong_with(&self, status: &Status) -> Option<String> {
        if matches!(status.code(), Code::Internal | Code::Unknown) {
            return Some("a fault of the server".into());
        }
        let Some(info) = status.get_details_error_info() else {
            return Some("no ErrorInfo".into());
        };
        if info.domain != "lancegate" || info.reason.is_empty() {
            return Some(format!("{info:?}"));
        }
        if status.code() == Code::InvalidArgument && violations(status).is_empty() {
            return Some("no field violations".into());
        }
        let details = String::from_utf8_lossy(status.details()).into_owned();
        self.inside
            .iter()
            .find(|text| status.message().contains(*text) || details.contains(*text))
            .map(|text| format!("tells {text:?}"))
    }

    /// A call that must be refused with this code, and about this: the field of
    /// an INVALID_ARGUMENT, else the reason.
    async fn refused<T>(
        &mut self,
        what: &str,
        code: Code,
        about: &str,
        call: impl AsyncFn(Clients) -> Result<Response<T>, Status>,
    ) {
        let Some(status) = self.ask(what, call).await else {
            self.faults.push(format!("{what}: was taken"));
            return;
        };
        let found = match code {
            Code::InvalidArgument => violations(&status),
            _ => status
                .get_details_error_info()
                .map(|info| vec![info.reason])
                .unwrap_or_default(),
        };
        // Long texts are cut.
        let same = |f: &String| f == about || f.len() > 290 && about.starts_with(&f[..280]);
        if status.code() != code || !found.iter().any(same) {
            let text = show(&status);
            self.faults
                .push(format!("{what}: not {code:?} about {about}: {text}"));
        }
    }

    /// A call that may be answered or refused, but not go wrong.
    async fn survived<T>(
        &mut self,
        what: &str,
        call: impl AsyncFn(Clients) -> Result<Response<T>, Status>,
    ) {
        let allowed = [Code::InvalidArgument, Code::Unimplemented, Code::NotFound];
        if let Some(status) = self.ask(what, call).await
            && !allowed.contains(&status.code())
        {
            self.faults.push(format!("{what}: {}", show(&status)));
        }
    }

    /// The server must have refused well, and still answer everybody else.
    async fn finish(mut self) {
        let count = CountRequest {
            freshness: None,
            table: "t".into(),
            filter: None,
        };
        let answer = self.server.search.count(count).await;
        match answer.map(|a| a.into_inner().count) {
            Ok(rows) if rows == ROWS as u64 => {}
            other => self.faults.push(format!("afterwards: {other:?}")),
        }
        for service in ["Search", "Write"] {
            let name = format!("lancegate.v1.{service}Service");
            if !self.server.app.serving(&name) {
                self.faults.push(format!("afterwards {name} is not ready"));
            }
        }
        let faults = self.faults.join("\n");
        assert!(faults.is_empty(), "of {} calls:\n{faults}", self.calls);
    }
}

/// The fields that an INVALID_ARGUMENT names.
fn violations(status: &Status) -> Vec<String> {
    let found = status.get_details_bad_request();
    let found = found.map(|request| request.field_violations);
    let fields = found.unwrap_or_default().into_iter();
    fields.map(|violation| violation.field).collect()
}

fn show(status: &Status) -> String {
    let text: String = status.message().chars().take(300).collect();
    format!("{:?} {:?} {text}", status.code(), violations(status))
}

/// Rows of the sample.
const ROWS: usize = 8;

/// A few rows with every kind of column that a filter may meet.
fn sample() -> RecordBatch {
    let numbers = 0..ROWS as i64;
    let texts = numbers.clone().map(|i| format!("row {i}"));
    let times = numbers.clone().map(|i| 1_700_000_000_000_000 + i);
    let point: Fields = ["x", "y"]
        .map(|name| Field::new(name, DataType::Float64, true))
        .to_vec()
        .into();
    let coordinate: ArrayRef = Arc::new(Float64Array::from_iter_values(
        numbers.clone().map(|i| i as f64),
    ));
    let coordinates = vec![Arc::clone(&coordinate), coordinate];
    let tags = arrow::array::GenericListArray::<i32>::from_iter_primitive::<
        arrow::datatypes::Int32Type,
        _,
        _,
    >(numbers.clone().map(|i| Some([Some(i as i32)])));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        numbers.clone().map(|i| Some([Some(i as f32); 4])),
        4,
    );
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(numbers.clone())),
            false,
        ),
        ("text", Arc::new(StringArray::from_iter_values(texts)), true),
        (
            "size",
            Arc::new(Int32Array::from_iter_values(numbers.map(|i| i as i32))),
            true,
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            true,
        ),
        ("tags", Arc::new(tags), true),
        (
            "place",
            Arc::new(StructArray::new(point, coordinates, None)),
            true,
        ),
        ("vector", Arc::new(vectors), true),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable))
        .collect();
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

/// The sample without a column and, if wanted, with a second vector column.
fn sample_without(column: &str, second_vector: bool) -> RecordBatch {
    let mut batch = sample();
    let index = batch.schema().index_of(column).expect("a column");
    batch.remove_column(index);
    if !second_vector {
        return batch;
    }
    let other = Float32Array::from_iter_values((0..ROWS * 2).map(|i| i as f32));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let other: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(other), None));
    let (schema, mut arrays, _) = batch.into_parts();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("other", other.data_type().clone(), true));
    arrays.push(other);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

fn filter(sql: impl Into<String>, params: Vec<value::Kind>) -> Filter {
    Filter {
        sql: sql.into(),
        params: params
            .into_iter()
            .map(|kind| Value { kind: Some(kind) })
            .collect(),
    }
}

//! The table of the comparison, made through the server, so that the replicas
//! hold it by replication.

use std::time::Instant;

use arrow::{array::RecordBatch, ipc::writer::StreamWriter};
use bytes::Bytes;
use lancegate::proto::v1::{
    CreateIndexRequest, CreateTableRequest, DescribeTableRequest, DistanceType, ImportRequest,
    IndexSpec, InsertMode, IvfOptions, IvfPqIndex, PqOptions, Query, SearchRequest, Vector,
    VectorBytes, VectorElement, WaitForIndexesRequest, create_table_request::Source,
    index_spec::Kind, table_service_client::TableServiceClient, vector::Data,
    write_service_client::WriteServiceClient,
};
use serde::Serialize;

use crate::{
    Result,
    dataset::{DIMENSION, Dataset},
    server::Server,
};

pub const TABLE: &str = "packages";

/// Four dimensions a code.
const SUB_VECTORS: usize = DIMENSION / 4;

/// Rows of a partition: somewhat more than LanceDB chooses for so small a table,
/// so that few probes find most of the neighbours.
const ROWS_A_PARTITION: usize = 400;

/// Rows of one message: about 4 MiB.
const ROWS_A_MESSAGE: usize = 2_500;

/// How the table came to be.
#[derive(Debug, Clone, Serialize)]
pub struct Built {
    pub rows: usize,
    pub partitions: u32,
    pub sub_vectors: usize,
    pub import_seconds: f64,
    pub index_seconds: f64,
    /// The version that every connection serves.
    pub version: u64,
}

/// Creates the table, imports the rows, builds the index, and waits for the
/// replicas.
pub async fn build(server: &Server, dataset: &Dataset) -> Result<Built> {
    let channel = server.channel().await?;
    let batches = dataset.batches(ROWS_A_MESSAGE)?;
    let mut tables = TableServiceClient::new(channel.clone());
    tables
        .create_table(CreateTableRequest {
            table: TABLE.into(),
            source: Some(Source::ArrowIpcSchema(ipc(&batches[0].slice(0, 0))?)),
            exist_ok: false,
        })
        .await?;

    let began = Instant::now();
    let messages = batches.iter().map(|batch| {
        Ok(ImportRequest {
            request_id: String::new(),
            table: TABLE.into(),
            arrow_ipc: ipc(batch)?,
            mode: InsertMode::Append.into(),
        })
    });
    let messages = messages.collect::<Result<Vec<_>>>()?;
    WriteServiceClient::new(channel)
        .import(tokio_stream::iter(messages))
        .await?;
    let import_seconds = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let partitions = (dataset.num_rows() / ROWS_A_PARTITION).max(1) as u32;
    let ivf = IvfOptions {
        distance_type: DistanceType::Cosine.into(),
        num_partitions: partitions,
        ..Default::default()
    };
    let pq = PqOptions {
        num_sub_vectors: SUB_VECTORS as u32,
        ..Default::default()
    };
    tables
        .create_index(CreateIndexRequest {
            table: TABLE.into(),
            columns: vec!["vector".into()],
            index: Some(IndexSpec {
                kind: Some(Kind::IvfPq(IvfPqIndex {
                    ivf: Some(ivf),
                    pq: Some(pq),
                })),
            }),
            ..Default::default()
        })
        .await?;
    let wait = WaitForIndexesRequest {
        table: TABLE.into(),
        ..Default::default()
    };
    tables.wait_for_indexes(wait).await?;
    let index_seconds = began.elapsed().as_secs_f64();
    server.settled().await?;
    let describe = DescribeTableRequest {
        table: TABLE.into(),
    };
    let table = tables.describe_table(describe).await?.into_inner();
    Ok(Built {
        rows: usize::try_from(table.num_rows)?,
        partitions,
        sub_vectors: SUB_VECTORS,
        import_seconds,
        index_seconds,
        version: table.version,
    })
}

/// A batch as an Arrow IPC stream.
pub fn ipc(batch: &RecordBatch) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

/// A search for the rows nearest to a vector, answered with their id and title. `how`
/// says everything else.
pub fn search(vector: &[f32], how: Query) -> SearchRequest {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let vector = Vector {
        data: Some(Data::Bytes(VectorBytes {
            element: VectorElement::F32.into(),
            data: bytes.into(),
        })),
    };
    SearchRequest {
        table: TABLE.into(),
        query: Some(Query {
            vectors: vec![vector],
            columns: vec!["id".into(), "title".into()],
            ..how
        }),
        ..Default::default()
    }
}

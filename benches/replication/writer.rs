//! Writes through gRPC.

use arrow::array::RecordBatch;
use lancegate::proto::v1::{
    CreateIndexRequest, CreateTableRequest, DistanceType, FtsIndex, IndexSpec, InsertRequest,
    IvfOptions, IvfPqIndex, OptimizeTableRequest, PqOptions, Rows, create_table_request::Source,
    index_spec::Kind, rows::Format, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient,
};
use tonic::transport::Channel;

use crate::{
    Result,
    dataset::DIMENSION,
    server::Server,
    tables::{TABLE, ipc},
};

/// Rows of a partition of the vector index.
const ROWS_A_PARTITION: usize = 250;

/// The one who writes.
pub struct Writer {
    write: WriteServiceClient<Channel>,
    tables: TableServiceClient<Channel>,
}

impl Writer {
    pub async fn connect(server: &Server) -> Result<Self> {
        let channel = server.channel().await?;
        Ok(Self {
            write: WriteServiceClient::new(channel.clone()),
            tables: TableServiceClient::new(channel),
        })
    }

    pub async fn create(&mut self, batch: &RecordBatch) -> Result<()> {
        let create = CreateTableRequest {
            table: TABLE.into(),
            source: Some(Source::Rows(rows(batch)?)),
            exist_ok: false,
        };
        self.tables.create_table(create).await?;
        Ok(())
    }

    /// Appends rows. Answers the version that has them.
    pub async fn insert(&mut self, batch: &RecordBatch) -> Result<u64> {
        let insert = InsertRequest {
            request_id: String::new(),
            table: TABLE.into(),
            rows: Some(rows(batch)?),
            mode: 0,
        };
        Ok(self.write.insert(insert).await?.into_inner().version)
    }

    /// Joins small files, and brings the indexes up to date.
    pub async fn optimize(&mut self) -> Result<u64> {
        self.run(OptimizeTableRequest::default()).await
    }

    /// Brings the indexes up to date and does nothing else.
    pub async fn optimize_indexes(&mut self) -> Result<u64> {
        self.run(OptimizeTableRequest {
            indexes: true,
            ..Default::default()
        })
        .await
    }

    /// All of it, and removes every version but the newest.
    pub async fn optimize_and_prune(&mut self) -> Result<u64> {
        self.run(OptimizeTableRequest {
            compact: true,
            indexes: true,
            prune_older_than: Some(prost_types::Duration::default()),
            ..Default::default()
        })
        .await
    }

    async fn run(&mut self, optimize: OptimizeTableRequest) -> Result<u64> {
        let optimize = OptimizeTableRequest {
            table: TABLE.into(),
            ..optimize
        };
        let done = self.tables.optimize_table(optimize).await?;
        Ok(done.into_inner().version)
    }

    /// Builds the vector index of so many rows, in place of the one that is there.
    pub async fn index_vectors(&mut self, rows: usize) -> Result<u64> {
        let ivf = IvfOptions {
            distance_type: DistanceType::Cosine.into(),
            num_partitions: (rows / ROWS_A_PARTITION).max(1) as u32,
            ..Default::default()
        };
        let pq = PqOptions {
            num_sub_vectors: (DIMENSION / 4) as u32,
            ..Default::default()
        };
        let kind = Kind::IvfPq(IvfPqIndex {
            ivf: Some(ivf),
            pq: Some(pq),
        });
        self.index("vector", kind).await
    }

    /// Builds the full-text index of the titles, as `make run` does.
    pub async fn index_titles(&mut self) -> Result<u64> {
        self.index("title", Kind::Fts(FtsIndex::default())).await
    }

    async fn index(&mut self, column: &str, kind: Kind) -> Result<u64> {
        let index = CreateIndexRequest {
            table: TABLE.into(),
            columns: vec![column.into()],
            index: Some(IndexSpec { kind: Some(kind) }),
            ..Default::default()
        };
        Ok(self.tables.create_index(index).await?.into_inner().version)
    }
}

fn rows(batch: &RecordBatch) -> Result<Rows> {
    Ok(Rows {
        format: Some(Format::ArrowIpc(ipc(batch)?)),
    })
}

//! Indexes: every kind that LanceDB 0.41 offers.

use std::time::Duration;

use lancedb::{
    Table,
    index::{
        Index, IndexType,
        scalar::{
            BTreeIndexBuilder, BitmapIndexBuilder, BloomFilterIndexBuilder, FmIndexBuilder,
            FtsIndexBuilder, LabelListIndexBuilder, NGramIndexBuilder, RTreeIndexBuilder,
            ZoneMapIndexBuilder,
        },
        vector::{
            IvfFlatIndexBuilder, IvfHnswFlatIndexBuilder, IvfHnswPqIndexBuilder,
            IvfHnswSqIndexBuilder, IvfPqIndexBuilder, IvfRqIndexBuilder, IvfSqIndexBuilder,
        },
    },
};

use super::{Handle, distance, error, handle::must_have};
use crate::domain::{
    Error, Resource, Result, TableName,
    index::{Fts, IndexInfo, IndexSpec},
};

/// How LanceDB prints the kind of a full-text index.
pub(super) const FTS: &str = "FTS";

/// Sets each option that was given on a builder.
macro_rules! with {
    ($builder:expr, $($setter:ident = $value:expr),+ $(,)?) => {{
        let mut builder = $builder;
        $(if let Some(value) = $value {
            builder = builder.$setter(value);
        })+
        builder
    }};
}

/// The options that every IVF index has.
macro_rules! with_ivf {
    ($builder:expr, $ivf:expr) => {
        with!(
            $builder,
            distance_type = $ivf.distance.map(distance::to_lancedb),
            num_partitions = $ivf.num_partitions,
            sample_rate = $ivf.sample_rate,
            max_iterations = $ivf.max_iterations,
            target_partition_size = $ivf.target_partition_size,
        )
    };
}

/// The options that every HNSW index has.
macro_rules! with_hnsw {
    ($builder:expr, $hnsw:expr) => {
        with!(
            $builder,
            num_edges = $hnsw.num_edges,
            ef_construction = $hnsw.ef_construction,
        )
    };
}

/// The options of product quantization.
macro_rules! with_pq {
    ($builder:expr, $pq:expr) => {
        with!(
            $builder,
            num_sub_vectors = $pq.num_sub_vectors,
            num_bits = $pq.num_bits,
        )
    };
}

fn builder(spec: IndexSpec) -> Result<Index> {
    let invalid = |e: lancedb::Error| error::from_lancedb(e);
    Ok(match spec {
        IndexSpec::Auto => Index::Auto,
        IndexSpec::IvfFlat(ivf) => Index::IvfFlat(with_ivf!(IvfFlatIndexBuilder::default(), ivf)),
        IndexSpec::IvfSq(ivf) => Index::IvfSq(with_ivf!(IvfSqIndexBuilder::default(), ivf)),
        IndexSpec::IvfPq(ivf, pq) => {
            Index::IvfPq(with_pq!(with_ivf!(IvfPqIndexBuilder::default(), ivf), pq))
        }
        IndexSpec::IvfRq(ivf, num_bits) => Index::IvfRq(with!(
            with_ivf!(IvfRqIndexBuilder::default(), ivf),
            num_bits = num_bits
        )),
        IndexSpec::IvfHnswFlat(ivf, hnsw) => Index::IvfHnswFlat(with_hnsw!(
            with_ivf!(IvfHnswFlatIndexBuilder::default(), ivf),
            hnsw
        )),
        IndexSpec::IvfHnswSq(ivf, hnsw) => Index::IvfHnswSq(with_hnsw!(
            with_ivf!(IvfHnswSqIndexBuilder::default(), ivf),
            hnsw
        )),
        IndexSpec::IvfHnswPq(ivf, hnsw, pq) => Index::IvfHnswPq(with_pq!(
            with_hnsw!(with_ivf!(IvfHnswPqIndexBuilder::default(), ivf), hnsw),
            pq
        )),
        IndexSpec::BTree => Index::BTree(BTreeIndexBuilder::default()),
        IndexSpec::Bitmap => Index::Bitmap(BitmapIndexBuilder::default()),
        IndexSpec::LabelList => Index::LabelList(LabelListIndexBuilder::default()),
        IndexSpec::Fm => Index::Fm(FmIndexBuilder::default()),
        IndexSpec::ZoneMap => Index::ZoneMap(ZoneMapIndexBuilder::default()),
        IndexSpec::NGram => Index::NGram(NGramIndexBuilder::default()),
        IndexSpec::BloomFilter {
            number_of_items,
            probability,
        } => {
            let mut builder = BloomFilterIndexBuilder::default();
            if let Some(items) = number_of_items {
                builder = builder.number_of_items(items).map_err(invalid)?;
            }
            if let Some(probability) = probability {
                builder = builder.probability(probability).map_err(invalid)?;
            }
            Index::BloomFilter(builder)
        }
        IndexSpec::RTree { page_size } => {
            let mut builder = RTreeIndexBuilder::default();
            if let Some(size) = page_size {
                builder = builder.page_size(size).map_err(invalid)?;
            }
            Index::RTree(builder)
        }
        IndexSpec::Fts(fts) => Index::FTS(fts_builder(&fts)?),
    })
}

fn fts_builder(fts: &Fts) -> Result<FtsIndexBuilder> {
    let mut builder = with!(
        FtsIndexBuilder::default(),
        base_tokenizer = fts.base_tokenizer.clone(),
        with_position = fts.with_position,
        lower_case = fts.lower_case,
        stem = fts.stem,
        remove_stop_words = fts.remove_stop_words,
        ascii_folding = fts.ascii_folding,
        ngram_min_length = fts.ngram_min_length,
        ngram_max_length = fts.ngram_max_length,
    );
    if let Some(length) = fts.max_token_length {
        builder = builder.max_token_length(Some(length));
    }
    if let Some(language) = &fts.language {
        builder = builder
            .language(language)
            .map_err(|_| Error::invalid("index.fts.language", "is not a known language"))?;
    }
    Ok(builder)
}

/// The indexes of a table, by name.
pub(super) async fn list(name: &TableName, table: &Table) -> Result<Vec<IndexInfo>> {
    let in_table = |e| error::in_table(name, e);
    let mut indexes = Vec::new();
    for config in table.list_indices().await.map_err(in_table)? {
        let stats = table.index_stats(&config.name).await.map_err(in_table)?;
        let (indexed, unindexed, measured) = stats.map_or((0, 0, None), |s| {
            (s.num_indexed_rows, s.num_unindexed_rows, s.distance_type)
        });
        indexes.push(IndexInfo {
            kind: kind(&config.index_type),
            name: config.name,
            columns: config.columns,
            num_indexed_rows: indexed as u64,
            num_unindexed_rows: unindexed as u64,
            distance: measured.and_then(distance::from_lancedb),
        });
    }
    indexes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(indexes)
}

fn kind(index: &IndexType) -> String {
    match index {
        IndexType::FTS => FTS.to_owned(),
        other => other.to_string(),
    }
}

impl Handle {
    /// Builds an index and waits for it.
    pub async fn create_index(
        &self,
        column: &str,
        spec: IndexSpec,
        index_name: Option<String>,
        replace: bool,
    ) -> Result<()> {
        let schema = self.schema().await?;
        must_have(&schema, column)?;
        let model = needs_model(&spec);
        let mut build = self
            .table
            .create_index(&[column], builder(spec)?)
            .replace(replace);
        if let Some(name) = index_name {
            build = build.name(name);
        }
        build.execute().await.map_err(|e| {
            match error::about("index", error::in_table(&self.name, e)) {
                // LanceDB's text is the path where it looked.
                Error::Invalid(_) if model => Error::invalid(
                    "index.fts.base_tokenizer",
                    "needs a language model that this server does not have",
                ),
                other => other,
            }
        })
    }

    /// Drops an index.
    pub async fn drop_index(&self, index: &str) -> Result<()> {
        self.table
            .drop_index(index)
            .await
            .map_err(|e| error::in_table(&self.name, e))
    }

    /// Waits until the indexes cover every row; an index that is not there is
    /// NOT_FOUND at once.
    pub async fn wait_for_indexes(&self, names: &[String], timeout: Duration) -> Result<()> {
        let present = list(&self.name, &self.table).await?;
        if let Some(missing) = names
            .iter()
            .find(|n| !present.iter().any(|i| i.name == **n))
        {
            return Err(Error::not_found(Resource::Index, missing));
        }
        let names: Vec<&str> = if names.is_empty() {
            present.iter().map(|i| i.name.as_str()).collect()
        } else {
            names.iter().map(String::as_str).collect()
        };
        match self.table.wait_for_index(&names, timeout).await {
            Ok(()) => Ok(()),
            Err(lancedb::Error::Timeout { .. }) => Err(Error::Deadline(timeout)),
            Err(e) => Err(error::in_table(&self.name, e)),
        }
    }
}

/// Whether an index cuts words by a language model, which is read from files.
fn needs_model(spec: &IndexSpec) -> bool {
    match spec {
        IndexSpec::Fts(fts) => fts
            .base_tokenizer
            .as_deref()
            .is_some_and(|name| name.starts_with("jieba") || name.starts_with("lindera")),
        _ => false,
    }
}

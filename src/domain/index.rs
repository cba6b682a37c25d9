//! Indexes: what to build, and what is there.

use super::search::Distance;

/// Options of the IVF part of a vector index; `None` is LanceDB's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ivf {
    pub distance: Option<Distance>,
    pub num_partitions: Option<u32>,
    pub sample_rate: Option<u32>,
    pub max_iterations: Option<u32>,
    pub target_partition_size: Option<u32>,
}

/// Options of product quantization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pq {
    pub num_sub_vectors: Option<u32>,
    pub num_bits: Option<u32>,
}

/// Options of an HNSW graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hnsw {
    pub num_edges: Option<u32>,
    pub ef_construction: Option<u32>,
}

/// Options of a full-text index; `None` is LanceDB's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fts {
    pub base_tokenizer: Option<String>,
    pub language: Option<String>,
    pub with_position: Option<bool>,
    pub max_token_length: Option<usize>,
    pub lower_case: Option<bool>,
    pub stem: Option<bool>,
    pub remove_stop_words: Option<bool>,
    pub ascii_folding: Option<bool>,
    pub ngram_min_length: Option<u32>,
    pub ngram_max_length: Option<u32>,
}

/// Which index to build: every kind that LanceDB 0.41 offers.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexSpec {
    Auto,
    IvfFlat(Ivf),
    IvfSq(Ivf),
    IvfPq(Ivf, Pq),
    IvfRq(Ivf, Option<u32>),
    IvfHnswFlat(Ivf, Hnsw),
    IvfHnswSq(Ivf, Hnsw),
    IvfHnswPq(Ivf, Hnsw, Pq),
    BTree,
    Bitmap,
    LabelList,
    Fm,
    ZoneMap,
    NGram,
    BloomFilter {
        number_of_items: Option<u64>,
        probability: Option<f64>,
    },
    RTree {
        page_size: Option<u32>,
    },
    Fts(Fts),
}

/// An index, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexInfo {
    pub name: String,
    /// As LanceDB prints it: `IVF_PQ`.
    pub kind: String,
    pub columns: Vec<String>,
    pub num_indexed_rows: u64,
    pub num_unindexed_rows: u64,
    pub distance: Option<Distance>,
}

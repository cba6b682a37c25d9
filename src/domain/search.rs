//! Reads, as checked values.

use arrow::buffer::ScalarBuffer;

use super::Filter;

/// A query vector. Its clones share the elements: a read that is tried twice copies
/// nothing.
pub type Vector = ScalarBuffer<f32>;

/// How the distance between two vectors is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    L2,
    Cosine,
    Dot,
    Hamming,
}

/// What LanceDB normalises before it fuses two result lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalize {
    #[default]
    Score,
    Rank,
}

/// A search: by vectors, by text, or by both (hybrid). At least one of `vectors`
/// and `full_text` is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// Query vectors, all of one length, all finite.
    pub vectors: Vec<Vector>,
    /// The column to search; the only vector column when `None`.
    pub vector_column: Option<String>,
    /// The index's own when `None`.
    pub distance: Option<Distance>,
    /// At least 1.
    pub limit: usize,
    /// Best rows to leave out.
    pub offset: usize,
    pub filter: Option<Filter>,
    pub postfilter: bool,
    /// Inclusive.
    pub distance_lower_bound: Option<f32>,
    /// Exclusive.
    pub distance_upper_bound: Option<f32>,
    pub nprobes: Option<usize>,
    pub minimum_nprobes: Option<usize>,
    pub maximum_nprobes: Option<usize>,
    pub refine_factor: Option<u32>,
    pub ef: Option<usize>,
    pub bypass_vector_index: bool,
    pub fast_search: bool,
    pub full_text: Option<FullText>,
    /// RRF's k, where it was given.
    pub rrf_k: Option<f32>,
    pub normalize: Normalize,
    /// All columns when `None`.
    pub columns: Option<Vec<String>>,
    pub with_row_id: bool,
}

/// Whether one or all of the words must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operator {
    #[default]
    Or,
    And,
}

/// A full-text query.
#[derive(Debug, Clone, PartialEq)]
pub enum FullText {
    Match {
        terms: String,
        column: Option<String>,
        operator: Operator,
        fuzziness: Option<u32>,
        max_expansions: Option<usize>,
        prefix_length: u32,
        boost: f32,
    },
    Phrase {
        terms: String,
        column: Option<String>,
        slop: u32,
    },
    Boost {
        positive: Box<FullText>,
        negative: Box<FullText>,
        negative_boost: Option<f32>,
    },
    MultiMatch {
        terms: String,
        columns: Vec<String>,
        /// Empty, or one per column.
        boosts: Vec<f32>,
        operator: Operator,
    },
    Boolean {
        should: Vec<FullText>,
        must: Vec<FullText>,
        must_not: Vec<FullText>,
    },
}

/// One column to order by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordering {
    pub column: String,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A scan without its paging.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scan {
    pub filter: Option<Filter>,
    /// All columns when `None`.
    pub columns: Option<Vec<String>>,
    pub order_by: Vec<Ordering>,
    pub with_row_id: bool,
}

//! Indexes: what a client asks to build, and what it is told of those that exist.

use super::{
    faults::{Faults, optional},
    query::distance,
};
use crate::{
    domain::{
        Error, Result,
        index::{Fts, Hnsw, IndexInfo, IndexSpec, Ivf, Pq},
        search::Distance,
    },
    proto::v1::{self as pb, index_spec::Kind},
};

/// Most partitions: thirty times the square root of a billion rows.
const MAX_PARTITIONS: u32 = 1 << 20;

/// Bits per dimension of RaBitQ (lance-index 14.0.2, `RABIT_MAX_NUM_BITS`).
const MAX_RQ_BITS: u32 = 9;

/// Which index to build, from field `index` of a request. 0 and unset are `None`,
/// which is LanceDB's default.
pub fn spec(spec: Option<pb::IndexSpec>) -> Result<IndexSpec> {
    let kind = spec.and_then(|spec| spec.kind);
    let kind = kind.ok_or_else(|| Error::invalid("index", "is required"))?;
    let mut reader = Reader(Faults::default());
    let found = reader.kind(kind);
    reader.0.finish().map(|()| found)
}

/// The column to index, from field `columns` of a request: LanceDB 0.41 takes one.
pub fn column(columns: Vec<String>) -> Result<String> {
    match <[String; 1]>::try_from(columns) {
        Ok([column]) if !column.is_empty() => Ok(column),
        Ok(_) => Err(Error::invalid("columns[0]", "is empty")),
        Err(_) => Err(Error::invalid("columns", "must be one column")),
    }
}

struct Reader(Faults);

impl Reader {
    fn kind(&mut self, kind: Kind) -> IndexSpec {
        match kind {
            Kind::Auto(_) => IndexSpec::Auto,
            Kind::IvfFlat(i) => IndexSpec::IvfFlat(self.ivf(i.ivf, "index.ivf_flat.ivf")),
            Kind::IvfSq(i) => IndexSpec::IvfSq(self.ivf(i.ivf, "index.ivf_sq.ivf")),
            Kind::IvfPq(i) => IndexSpec::IvfPq(
                self.ivf(i.ivf, "index.ivf_pq.ivf"),
                self.pq(i.pq, "index.ivf_pq.pq"),
            ),
            Kind::IvfRq(i) => IndexSpec::IvfRq(
                self.ivf(i.ivf, "index.ivf_rq.ivf"),
                self.at_most(i.num_bits, MAX_RQ_BITS, "index.ivf_rq.num_bits"),
            ),
            Kind::IvfHnswFlat(i) => IndexSpec::IvfHnswFlat(
                self.ivf(i.ivf, "index.ivf_hnsw_flat.ivf"),
                self.hnsw(i.hnsw, "index.ivf_hnsw_flat.hnsw"),
            ),
            Kind::IvfHnswSq(i) => IndexSpec::IvfHnswSq(
                self.ivf(i.ivf, "index.ivf_hnsw_sq.ivf"),
                self.hnsw(i.hnsw, "index.ivf_hnsw_sq.hnsw"),
            ),
            Kind::IvfHnswPq(i) => IndexSpec::IvfHnswPq(
                self.ivf(i.ivf, "index.ivf_hnsw_pq.ivf"),
                self.hnsw(i.hnsw, "index.ivf_hnsw_pq.hnsw"),
                self.pq(i.pq, "index.ivf_hnsw_pq.pq"),
            ),
            Kind::Btree(_) => IndexSpec::BTree,
            Kind::Bitmap(_) => IndexSpec::Bitmap,
            Kind::LabelList(_) => IndexSpec::LabelList,
            Kind::Fm(_) => IndexSpec::Fm,
            Kind::ZoneMap(_) => IndexSpec::ZoneMap,
            Kind::Ngram(_) => IndexSpec::NGram,
            Kind::BloomFilter(i) => self.bloom_filter(i),
            Kind::Rtree(i) => self.rtree(i),
            Kind::Fts(i) => self.fts(i),
        }
    }

    fn ivf(&mut self, ivf: Option<pb::IvfOptions>, path: &str) -> Ivf {
        let ivf = ivf.unwrap_or_default();
        let field = |name| format!("{path}.{name}");
        let distance = distance(ivf.distance_type, &field("distance_type"));
        Ivf {
            distance: self.0.keep(distance).flatten(),
            num_partitions: self.at_most(
                ivf.num_partitions,
                MAX_PARTITIONS,
                &field("num_partitions"),
            ),
            sample_rate: self.at_most(ivf.sample_rate, 1 << 16, &field("sample_rate")),
            max_iterations: self.at_most(ivf.max_iterations, 10_000, &field("max_iterations")),
            target_partition_size: positive(ivf.target_partition_size),
        }
    }

    fn pq(&mut self, pq: Option<pb::PqOptions>, path: &str) -> Pq {
        let pq = pq.unwrap_or_default();
        if !matches!(pq.num_bits, 0 | 4 | 8) {
            self.0.add(format!("{path}.num_bits"), "must be 4 or 8");
        }
        let most = 1 << 16;
        Pq {
            num_sub_vectors: self.at_most(
                pq.num_sub_vectors,
                most,
                &format!("{path}.num_sub_vectors"),
            ),
            num_bits: positive(pq.num_bits),
        }
    }

    fn hnsw(&mut self, hnsw: Option<pb::HnswOptions>, path: &str) -> Hnsw {
        let hnsw = hnsw.unwrap_or_default();
        let field = |name| format!("{path}.{name}");
        Hnsw {
            num_edges: self.at_most(hnsw.num_edges, 1 << 10, &field("num_edges")),
            ef_construction: self.at_most(hnsw.ef_construction, 1 << 16, &field("ef_construction")),
        }
    }

    fn bloom_filter(&mut self, i: pb::BloomFilterIndex) -> IndexSpec {
        let given = i.probability != 0.0;
        if given && !(i.probability > 0.0 && i.probability < 1.0) {
            self.0
                .add("index.bloom_filter.probability", "must be between 0 and 1");
        }
        IndexSpec::BloomFilter {
            number_of_items: (i.number_of_items != 0).then_some(i.number_of_items),
            probability: given.then_some(i.probability),
        }
    }

    fn rtree(&mut self, i: pb::RTreeIndex) -> IndexSpec {
        // One entry per page is a tree that never ends.
        self.0.add_if(
            i.page_size == 1,
            "index.rtree.page_size",
            "must be at least 2",
        );
        IndexSpec::RTree {
            page_size: positive(i.page_size),
        }
    }

    fn fts(&mut self, i: pb::FtsIndex) -> IndexSpec {
        let field = |name| format!("index.fts.{name}");
        self.0.add_if(
            !is_tokenizer(&i.base_tokenizer),
            &field("base_tokenizer"),
            "is not a tokenizer of this server",
        );
        for (value, name) in [
            (i.max_token_length, "max_token_length"),
            (i.ngram_min_length, "ngram_min_length"),
            (i.ngram_max_length, "ngram_max_length"),
        ] {
            self.0
                .add_if(value == Some(0), &field(name), "must be at least 1");
        }
        if let (Some(shortest), Some(longest)) = (i.ngram_min_length, i.ngram_max_length)
            && shortest > longest
        {
            let fault = "must be at most ngram_max_length";
            self.0.add(field("ngram_min_length"), fault);
        }
        IndexSpec::Fts(Fts {
            base_tokenizer: optional(i.base_tokenizer),
            language: optional(i.language),
            with_position: i.with_position,
            max_token_length: i.max_token_length.map(|length| length as usize),
            lower_case: i.lower_case,
            stem: i.stem,
            remove_stop_words: i.remove_stop_words,
            ascii_folding: i.ascii_folding,
            ngram_min_length: i.ngram_min_length,
            ngram_max_length: i.ngram_max_length,
        })
    }

    fn at_most(&mut self, value: u32, max: u32, path: &str) -> Option<u32> {
        if value > max {
            self.0.add(path, format!("must be at most {max}"));
        }
        positive(value)
    }
}

/// The tokenizers of lance-index 14.0.2. Of the last two kinds it loads a language
/// model from a folder of that name, which must not lead elsewhere.
fn is_tokenizer(name: &str) -> bool {
    const BUILT_IN: &[&str] = &[
        "",
        "simple",
        "whitespace",
        "raw",
        "code",
        "icu",
        "icu/split",
        "ngram",
        "jieba",
    ];
    let model = |name: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        !name.is_empty() && name.bytes().all(good)
    };
    let folder = |kind| name.strip_prefix(kind).is_some_and(model);
    BUILT_IN.contains(&name) || folder("jieba/") || folder("lindera/")
}

fn positive(value: u32) -> Option<u32> {
    (value != 0).then_some(value)
}

/// An index, for an answer.
pub fn info(info: IndexInfo) -> pb::IndexInfo {
    let distance = match info.distance {
        None => pb::DistanceType::Unspecified,
        Some(Distance::L2) => pb::DistanceType::L2,
        Some(Distance::Cosine) => pb::DistanceType::Cosine,
        Some(Distance::Dot) => pb::DistanceType::Dot,
        Some(Distance::Hamming) => pb::DistanceType::Hamming,
    };
    pb::IndexInfo {
        name: info.name,
        r#type: info.kind,
        columns: info.columns,
        num_indexed_rows: info.num_indexed_rows,
        num_unindexed_rows: info.num_unindexed_rows,
        distance_type: distance.into(),
    }
}

#[cfg(test)]
mod tests;

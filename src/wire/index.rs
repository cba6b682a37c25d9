//! Indexes: what a client asks to build, and what it is told of those that exist.

use super::{
    faults::{Faults, optional},
    query::distance,
};
use crate::{
    domain::{
        Result,
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
    let mut reader = Reader(Faults::default());
    let Some(kind) = spec.and_then(|spec| spec.kind) else {
        reader.0.add("index", "is required");
        reader.0.finish()?;
        return Ok(IndexSpec::Auto);
    };
    let found = reader.kind(kind);
    reader.0.finish()?;
    Ok(found)
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
mod tests {
    use super::*;
    use crate::wire::tests::fields;

    fn of(kind: Kind) -> Result<IndexSpec> {
        spec(Some(pb::IndexSpec { kind: Some(kind) }))
    }

    #[test]
    fn unset_options_are_left_to_lancedb() {
        assert_eq!(of(Kind::Auto(Default::default())), Ok(IndexSpec::Auto));
        let plain = IndexSpec::IvfPq(Ivf::default(), Pq::default());
        assert_eq!(of(Kind::IvfPq(Default::default())), Ok(plain));
        let fts = of(Kind::Fts(pb::FtsIndex {
            stem: Some(false),
            ..Default::default()
        }));
        assert_eq!(
            fts,
            Ok(IndexSpec::Fts(Fts {
                stem: Some(false),
                ..Default::default()
            }))
        );
        let given = pb::IvfHnswPqIndex {
            ivf: Some(pb::IvfOptions {
                distance_type: pb::DistanceType::Dot.into(),
                num_partitions: 8,
                ..Default::default()
            }),
            hnsw: Some(pb::HnswOptions {
                num_edges: 16,
                ..Default::default()
            }),
            pq: Some(pb::PqOptions {
                num_sub_vectors: 4,
                num_bits: 8,
            }),
        };
        let want = IndexSpec::IvfHnswPq(
            Ivf {
                distance: Some(Distance::Dot),
                num_partitions: Some(8),
                ..Default::default()
            },
            Hnsw {
                num_edges: Some(16),
                ..Default::default()
            },
            Pq {
                num_sub_vectors: Some(4),
                num_bits: Some(8),
            },
        );
        assert_eq!(of(Kind::IvfHnswPq(given)), Ok(want));
    }

    #[test]
    fn bad_options_are_named() {
        assert_eq!(fields(spec(None)), ["index"]);
        assert_eq!(fields(spec(Some(pb::IndexSpec { kind: None }))), ["index"]);
        let ivf = pb::IvfOptions {
            distance_type: 9,
            num_partitions: u32::MAX,
            ..Default::default()
        };
        let pq = pb::PqOptions {
            num_bits: 5,
            ..Default::default()
        };
        assert_eq!(
            fields(of(Kind::IvfPq(pb::IvfPqIndex {
                ivf: Some(ivf),
                pq: Some(pq)
            }))),
            [
                "index.ivf_pq.ivf.distance_type",
                "index.ivf_pq.ivf.num_partitions",
                "index.ivf_pq.pq.num_bits"
            ]
        );
        let rq = Kind::IvfRq(pb::IvfRqIndex {
            num_bits: 10,
            ..Default::default()
        });
        assert_eq!(fields(of(rq)), ["index.ivf_rq.num_bits"]);
        for probability in [f64::NAN, -0.1, 1.0, f64::INFINITY] {
            let bloom = Kind::BloomFilter(pb::BloomFilterIndex {
                probability,
                ..Default::default()
            });
            assert_eq!(fields(of(bloom)), ["index.bloom_filter.probability"]);
        }
        let rtree = Kind::Rtree(pb::RTreeIndex { page_size: 1 });
        assert_eq!(fields(of(rtree)), ["index.rtree.page_size"]);
        let fts = pb::FtsIndex {
            max_token_length: Some(0),
            ngram_min_length: Some(4),
            ngram_max_length: Some(3),
            ..Default::default()
        };
        assert_eq!(
            fields(of(Kind::Fts(fts))),
            ["index.fts.max_token_length", "index.fts.ngram_min_length"]
        );
    }
}

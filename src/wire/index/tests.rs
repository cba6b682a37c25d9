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
    assert_eq!(fields(column(vec![])), ["columns"]);
    assert_eq!(fields(column(vec!["a".into(), "b".into()])), ["columns"]);
    assert_eq!(fields(column(vec!["".into()])), ["columns[0]"]);
    assert_eq!(column(vec!["a".into()]), Ok("a".into()));
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

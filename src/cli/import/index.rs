//! `--index COLUMN:KIND`.

use std::str::FromStr;

use crate::proto::v1::{IndexSpec, index_spec::Kind};

/// The kinds by their names in the contract, in its order.
const KINDS: [&str; 17] = [
    "auto",
    "ivf_flat",
    "ivf_sq",
    "ivf_pq",
    "ivf_rq",
    "ivf_hnsw_flat",
    "ivf_hnsw_sq",
    "ivf_hnsw_pq",
    "btree",
    "bitmap",
    "label_list",
    "fm",
    "zone_map",
    "ngram",
    "bloom_filter",
    "rtree",
    "fts",
];

/// An index to build on one column, with the default options of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub column: String,
    pub kind: String,
}

impl FromStr for Index {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, kind) = text
            .rsplit_once(':')
            .ok_or("write COLUMN:KIND, such as title:fts")?;
        if column.is_empty() {
            return Err("the column is missing".into());
        }
        if kind_of(kind).is_none() {
            return Err(format!("the kinds are {}", KINDS.join(", ")));
        }
        Ok(Index {
            column: column.into(),
            kind: kind.into(),
        })
    }
}

impl Index {
    /// The index's name: LanceDB's default, or one with the kind where the
    /// column gets several indexes, which would replace one another.
    pub(super) fn name(&self, all: &[Index]) -> String {
        let alone = all
            .iter()
            .filter(|index| index.column == self.column)
            .count()
            == 1;
        let column = self.column.replace('.', "_");
        if alone {
            format!("{column}_idx")
        } else {
            format!("{column}_{}_idx", self.kind)
        }
    }

    pub(super) fn spec(&self) -> IndexSpec {
        IndexSpec {
            kind: kind_of(&self.kind),
        }
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "auto" => Kind::Auto(Default::default()),
        "ivf_flat" => Kind::IvfFlat(Default::default()),
        "ivf_sq" => Kind::IvfSq(Default::default()),
        "ivf_pq" => Kind::IvfPq(Default::default()),
        "ivf_rq" => Kind::IvfRq(Default::default()),
        "ivf_hnsw_flat" => Kind::IvfHnswFlat(Default::default()),
        "ivf_hnsw_sq" => Kind::IvfHnswSq(Default::default()),
        "ivf_hnsw_pq" => Kind::IvfHnswPq(Default::default()),
        "btree" => Kind::Btree(Default::default()),
        "bitmap" => Kind::Bitmap(Default::default()),
        "label_list" => Kind::LabelList(Default::default()),
        "fm" => Kind::Fm(Default::default()),
        "zone_map" => Kind::ZoneMap(Default::default()),
        "ngram" => Kind::Ngram(Default::default()),
        "bloom_filter" => Kind::BloomFilter(Default::default()),
        "rtree" => Kind::Rtree(Default::default()),
        "fts" => Kind::Fts(Default::default()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_known_and_no_other() {
        for kind in KINDS {
            assert!(
                format!("a:{kind}")
                    .parse::<Index>()
                    .unwrap()
                    .spec()
                    .kind
                    .is_some()
            );
        }
        for wrong in ["title", "title:", ":fts", "title:hash", ""] {
            assert!(wrong.parse::<Index>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_indexes_of_a_column_have_two_names() {
        let all: Vec<Index> = ["a.b:fts", "c:btree", "c:ngram"]
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        let names: Vec<String> = all.iter().map(|index| index.name(&all)).collect();
        assert_eq!(names, ["a_b_idx", "c_btree_idx", "c_ngram_idx"]);
    }
}

//! What expressions of clients may call: the meaning of `limits.allowed_functions`.

use std::collections::BTreeSet;

/// Stands for [`SAFE`] in a list of functions.
const ALL_SAFE: &str = "@safe";

/// Functions whose cost and whose answer are bounded by what they are given, and that
/// answer the same for all rows of a query: those of DataFusion that do, and Lance's
/// own. Not among them: what answers with a text or list of any length (`repeat`,
/// `lpad`, `range`, `array_resize`, ...), what may make a text many times as long as
/// it was (`replace`, `regexp_replace`, `encode`, `array_to_string`), and what is
/// different each time (`random`, `uuid`).
const SAFE: &[&str] = &[
    // Numbers.
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "ceiling",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "mod",
    "nanvl",
    "pi",
    "pow",
    "power",
    "radians",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    // Choices.
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    // Texts.
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "contains_tokens",
    "ends_with",
    "find_in_set",
    "initcap",
    "instr",
    "left",
    "length",
    "levenshtein",
    "lower",
    "ltrim",
    "octet_length",
    "overlay",
    "position",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "substring",
    "substring_index",
    "to_hex",
    "translate",
    "trim",
    "upper",
    // Regular expressions, whose patterns are bounded by limits.max_pattern_bytes.
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    // Times.
    "current_date",
    "current_time",
    "current_timestamp",
    "date_bin",
    "date_format",
    "date_part",
    "date_trunc",
    "datepart",
    "datetrunc",
    "extract",
    "from_unixtime",
    "make_date",
    "make_time",
    "now",
    "to_char",
    "to_date",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "today",
    // Lists.
    "array_any_value",
    "array_contains",
    "array_contains_all",
    "array_contains_any",
    "array_dims",
    "array_distance",
    "array_distinct",
    "array_element",
    "array_empty",
    "array_except",
    "array_extract",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_indexof",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_reverse",
    "array_slice",
    "array_sort",
    "array_union",
    "cardinality",
    "cosine_distance",
    "element_at",
    "empty",
    "flatten",
    "inner_product",
    "list_any_value",
    "list_contains",
    "list_dims",
    "list_distance",
    "list_distinct",
    "list_element",
    "list_empty",
    "list_except",
    "list_extract",
    "list_has",
    "list_has_all",
    "list_has_any",
    "list_indexof",
    "list_intersect",
    "list_length",
    "list_max",
    "list_min",
    "list_ndims",
    "list_position",
    "list_positions",
    "list_reverse",
    "list_slice",
    "list_sort",
    "list_union",
    "make_array",
    "make_list",
    "string_to_array",
    "string_to_list",
    // Structs and maps.
    "get_field",
    "map",
    "map_entries",
    "map_extract",
    "map_keys",
    "map_values",
    "named_struct",
    "row",
    "struct",
    // Fingerprints.
    "decode",
    "digest",
    "md5",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    // Types.
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "is_valid",
    "version",
    // JSON.
    "json_array_contains",
    "json_array_length",
    "json_exists",
    "json_extract",
    "json_extract_with_type",
    "json_get",
    "json_get_bool",
    "json_get_float",
    "json_get_int",
    "json_get_string",
    // Places.
    "st_area",
    "st_contains",
    "st_coveredby",
    "st_covers",
    "st_crosses",
    "st_distance",
    "st_intersects",
    "st_length",
    "st_overlaps",
    "st_touches",
    "st_within",
];

/// Names of functions that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Functions {
    /// As they were written.
    written: Vec<String>,
    names: BTreeSet<String>,
}

impl Functions {
    /// Those of a list, in which `@safe` stands for many.
    ///
    /// # Errors
    /// The number of the first that is no name of a function, and what would be right.
    pub fn of(written: &[String]) -> Result<Self, (usize, String)> {
        let mut names = BTreeSet::new();
        for (i, name) in written.iter().enumerate() {
            let in_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            match name.as_str() {
                ALL_SAFE => names.extend(SAFE.iter().map(ToString::to_string)),
                name if !name.is_empty() && name.chars().all(in_names) => {
                    names.insert(name.to_owned());
                }
                _ => {
                    let fault = format!(
                        "must be the name of a function, of a-z, 0-9 and _, or {ALL_SAFE:?}"
                    );
                    return Err((i, fault));
                }
            }
        }
        Ok(Self {
            written: written.to_vec(),
            names,
        })
    }

    /// Those that `@safe` stands for.
    pub fn safe() -> Self {
        Self {
            written: default_functions(),
            names: SAFE.iter().map(ToString::to_string).collect(),
        }
    }

    /// None at all.
    pub fn none() -> Self {
        Self {
            written: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    /// Whether this one, in lower case, may be called.
    pub fn allows(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// As they were written.
    pub fn written(&self) -> &[String] {
        &self.written
    }
}

/// What is allowed where nothing else is said.
pub(super) fn default_functions() -> Vec<String> {
    vec![ALL_SAFE.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Functions, (usize, String)> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Functions::of(&names)
    }

    #[test]
    fn a_list_allows_what_it_names() {
        let safe = of(&["@safe"]).unwrap();
        assert!(safe.allows("lower") && !safe.allows("repeat") && !safe.allows("random"));
        let more = of(&["@safe", "repeat"]).unwrap();
        assert!(more.allows("lower") && more.allows("repeat"));
        let few = of(&["repeat"]).unwrap();
        assert!(!few.allows("lower") && few.allows("repeat") && !few.allows("@safe"));
        assert!(!of(&[]).unwrap().allows("lower"));
        assert_eq!(of(&["@safe", "Lower"]).unwrap_err().0, 1);
        assert!(of(&[""]).is_err() && of(&["a b"]).is_err());
    }
}

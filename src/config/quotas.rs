//! What each of those who ask may have: the meaning of `[quotas]`.

use std::collections::BTreeMap;

use super::{
    checks::{Zero, bytes},
    fault::Faults,
    raw,
    units::ByteSize,
};

/// What everybody may have, and what some may have instead.
#[derive(Debug, Clone, PartialEq)]
pub struct Quotas {
    /// For those whom no pattern is for.
    pub default: Quota,
    /// The same, by a pattern of the names of principals.
    pub principals: BTreeMap<String, Quota>,
    /// How many are told apart at once.
    pub max_identities: usize,
}

/// What one may have. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quota {
    /// Requests a second, in the long run.
    pub requests_per_second: f64,
    /// Requests at once after a rest; at least 1 where the rate is bounded.
    pub burst: u32,
    /// Requests being worked on.
    pub max_concurrent_requests: u32,
    /// Bytes of one request message.
    pub max_request_bytes: u64,
    /// Bytes of one answer.
    pub max_answer_bytes: u64,
    /// Rows of one answer.
    pub max_rows: u64,
    /// Rows of one write.
    pub rows_per_write: u64,
}

impl Quota {
    /// Whether nothing is bounded.
    pub fn is_off(&self) -> bool {
        let Quota { burst, .. } = *self;
        // A burst alone bounds nothing.
        *self
            == Quota {
                burst,
                ..Quota::default()
            }
    }
}

impl Quotas {
    /// Whether nothing is bounded for anybody.
    pub fn is_off(&self) -> bool {
        self.default.is_off() && self.principals.values().all(Quota::is_off)
    }

    /// What the principal of this name may have.
    pub fn of(&self, name: &str) -> Quota {
        let fitting = self.principals.iter().filter(|(p, _)| matches(p, name));
        // Of two that say as much the first by name, so that it is always the same.
        let best = fitting.min_by_key(|(pattern, _)| {
            let letters = pattern.chars().filter(|c| *c != '*').count();
            (std::cmp::Reverse(letters), pattern.contains('*'))
        });
        best.map_or(self.default, |(_, quota)| *quota)
    }
}

/// Whether a name is one of a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// The lowest rate but none: lower ones make waits that no clock counts.
const LEAST_RATE: f64 = 0.001;

/// Checks `[quotas]`.
pub(super) fn quotas(raw: &raw::Quotas, faults: &mut Faults) -> Quotas {
    let rates = raw.principals.iter().map(|(pattern, own)| {
        let path = format!("quotas.principals.{pattern}.requests_per_second");
        (path, own.requests_per_second.unwrap_or_default())
    });
    let rate = (
        "quotas.requests_per_second".to_owned(),
        raw.requests_per_second,
    );
    for (path, rate) in std::iter::once(rate).chain(rates) {
        if rate > 0.0 && rate < LEAST_RATE {
            faults.push(path, format!("must be 0 or at least {LEAST_RATE}"));
        }
    }
    let mut size =
        |path: String, written: &ByteSize| bytes(faults, &path, written, Zero::Allowed) as u64;
    let default = with_burst(Quota {
        requests_per_second: raw.requests_per_second,
        burst: raw.burst,
        max_concurrent_requests: raw.max_concurrent_requests,
        max_request_bytes: size("quotas.max_request_bytes".into(), &raw.max_request_bytes),
        max_answer_bytes: size("quotas.max_answer_bytes".into(), &raw.max_answer_bytes),
        max_rows: raw.max_rows,
        rows_per_write: raw.rows_per_write,
    });
    let mut principals = BTreeMap::new();
    for (pattern, written) in &raw.principals {
        let mut own = |key: &str, written: &Option<ByteSize>, otherwise| match written {
            Some(written) => size(format!("quotas.principals.{pattern}.{key}"), written),
            None => otherwise,
        };
        let quota = Quota {
            requests_per_second: written
                .requests_per_second
                .unwrap_or(raw.requests_per_second),
            burst: written.burst.unwrap_or(raw.burst),
            max_concurrent_requests: written
                .max_concurrent_requests
                .unwrap_or(default.max_concurrent_requests),
            max_request_bytes: own(
                "max_request_bytes",
                &written.max_request_bytes,
                default.max_request_bytes,
            ),
            max_answer_bytes: own(
                "max_answer_bytes",
                &written.max_answer_bytes,
                default.max_answer_bytes,
            ),
            max_rows: written.max_rows.unwrap_or(default.max_rows),
            rows_per_write: written.rows_per_write.unwrap_or(default.rows_per_write),
        };
        principals.insert(pattern.clone(), with_burst(quota));
    }
    Quotas {
        default,
        principals,
        max_identities: raw.max_identities,
    }
}

/// Where a rate has no burst: that of a second, and at least one.
fn with_burst(quota: Quota) -> Quota {
    let burst = match quota.burst {
        0 if quota.requests_per_second > 0.0 => quota.requests_per_second.ceil().max(1.0) as u32,
        burst => burst,
    };
    Quota { burst, ..quota }
}

impl Quotas {
    /// As it would be written.
    pub(super) fn to_raw(&self) -> raw::Quotas {
        let Quota {
            requests_per_second,
            burst,
            max_concurrent_requests,
            max_request_bytes,
            max_answer_bytes,
            max_rows,
            rows_per_write,
        } = self.default;
        let own = |quota: &Quota| raw::PrincipalQuotas {
            requests_per_second: Some(quota.requests_per_second),
            burst: Some(quota.burst),
            max_concurrent_requests: Some(quota.max_concurrent_requests),
            max_request_bytes: Some(quota.max_request_bytes.into()),
            max_answer_bytes: Some(quota.max_answer_bytes.into()),
            max_rows: Some(quota.max_rows),
            rows_per_write: Some(quota.rows_per_write),
        };
        raw::Quotas {
            requests_per_second,
            burst,
            max_concurrent_requests,
            max_request_bytes: max_request_bytes.into(),
            max_answer_bytes: max_answer_bytes.into(),
            max_rows,
            rows_per_write,
            max_identities: self.max_identities,
            principals: self
                .principals
                .iter()
                .map(|(pattern, quota)| (pattern.clone(), own(quota)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("a*b*c", "a-bb-c", true),
            ("a*b*c", "a-c", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_pattern_that_says_most_counts() {
        let quota = |max_rows| Quota {
            max_rows,
            ..Quota::default()
        };
        let quotas = Quotas {
            default: quota(1),
            principals: BTreeMap::from([
                ("tenant-*".to_owned(), quota(2)),
                ("tenant-a*".to_owned(), quota(3)),
                ("tenant-ab".to_owned(), quota(4)),
                ("*".to_owned(), quota(5)),
            ]),
            max_identities: 1,
        };
        let rows = |name: &str| quotas.of(name).max_rows;
        assert_eq!(rows("tenant-x"), 2);
        assert_eq!(rows("tenant-ax"), 3);
        assert_eq!(rows("tenant-ab"), 4);
        assert_eq!(rows("other"), 5);
        let none = Quotas {
            principals: BTreeMap::new(),
            ..quotas
        };
        assert_eq!(none.of("other").max_rows, 1);
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let text = "requests_per_second = 2.5\nmax_rows = 7\n[principals.a]\nmax_rows = 0\n\
                    [principals.b]\nrequests_per_second = 0.1\nmax_answer_bytes = \"1MiB\"";
        let raw: raw::Quotas = toml::from_str(text).unwrap();
        let mut faults = Faults::default();
        let quotas = quotas(&raw, &mut faults);
        let of = |name: &str| {
            let quota = quotas.of(name);
            (quota.requests_per_second, quota.burst, quota.max_rows)
        };
        assert_eq!(of("x"), (2.5, 3, 7));
        assert_eq!(of("a"), (2.5, 3, 0));
        assert_eq!(of("b"), (0.1, 1, 7));
        assert_eq!(quotas.of("b").max_answer_bytes, 1 << 20);
        assert!(!quotas.is_off());
        // What is written out means the same.
        let again: raw::Quotas =
            toml::from_str(&toml::to_string(&quotas.to_raw()).unwrap()).unwrap();
        assert_eq!(super::quotas(&again, &mut faults), quotas);
        let off = super::quotas(&raw::Quotas::default(), &mut faults);
        assert!(off.is_off());
    }
}

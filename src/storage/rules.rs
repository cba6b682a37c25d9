//! What one query may be and take, whatever it asks for.

use std::sync::Arc;

use crate::config::{Config, Functions};

/// The bounds of expressions, and of the memory that a query sorts and joins in.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How deep an expression may nest.
    pub max_depth: usize,
    /// Operators and calls of one expression.
    pub max_terms: usize,
    /// Values of one list in an expression.
    pub max_list: usize,
    /// Bytes of one pattern of LIKE or of a regular expression.
    pub max_pattern_bytes: usize,
    /// What an expression may call.
    pub functions: Arc<Functions>,
    /// Bytes that one query may keep while it runs.
    pub max_memory: usize,
}

impl Rules {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            max_depth: limits.max_filter_depth,
            max_terms: limits.max_filter_terms,
            max_list: limits.max_filter_list,
            max_pattern_bytes: limits.max_pattern_bytes,
            functions: Arc::clone(&config.functions),
            max_memory: limits.max_query_memory,
        }
    }

    /// Those of the filters that bind what somebody sees: they are the operator's own.
    pub fn of_scopes() -> Self {
        Self {
            max_depth: 64,
            max_terms: 1_000,
            max_list: 100_000,
            max_pattern_bytes: 1 << 10,
            functions: Arc::new(Functions::safe()),
            max_memory: usize::MAX,
        }
    }

    /// Those of reads that no client asks for: they have no expressions, and the memory
    /// that they need.
    pub fn ours() -> Self {
        Self {
            max_depth: 0,
            max_terms: 0,
            max_list: 0,
            max_pattern_bytes: 0,
            functions: Arc::new(Functions::none()),
            max_memory: usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    impl Default for Rules {
        /// Those of the default configuration.
        fn default() -> Self {
            Self::of(&load(Sources::default()).unwrap())
        }
    }
}

//! Filters: an expression and the values that it names by position.

/// A value that a filter or an assignment binds.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Seconds since 1970-01-01T00:00:00Z and nanoseconds (0 to 999,999,999) after that.
    Timestamp {
        seconds: i64,
        nanos: u32,
    },
    /// A decimal number in plain notation, checked to be one.
    Decimal(String),
    /// One or more values for `IN`.
    List(Vec<Scalar>),
}

/// Bytes of all texts and binary values of one filter together: they become a part of
/// the expression that is planned.
pub const MAX_VALUE_BYTES: usize = 4 << 20;

impl Scalar {
    /// Bytes of the texts and binary values in it.
    pub fn bytes(&self) -> usize {
        match self {
            Scalar::Text(text) => text.len(),
            Scalar::Bytes(bytes) => bytes.len(),
            Scalar::List(items) => items.iter().map(Scalar::bytes).sum(),
            _ => 0,
        }
    }

    /// Values of the list that it is; 1 for any other.
    pub fn items(&self) -> usize {
        match self {
            Scalar::List(items) => items.len(),
            _ => 1,
        }
    }
}

/// A boolean SQL expression with `$1`, `$2`, ... for its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The request field it came from, for error messages: `query.filter`.
    pub field: String,
    /// The expression. Never empty.
    pub sql: String,
    /// The values of `$1`, `$2`, ... in order.
    pub params: Vec<Scalar>,
}

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

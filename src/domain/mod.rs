//! Plain values: what is asked, what is known, what was decided. No I/O here.

pub mod error;
pub mod filter;
pub mod ids;
pub mod index;
pub mod search;
pub mod table;
pub mod view;

pub use error::{Error, Resource, Result, Violation};
pub use filter::{Filter, Scalar};
pub use ids::{Role, TableName};

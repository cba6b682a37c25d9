//! Plain values: what is asked, what is known, what was decided. No I/O here.

pub mod answers;
pub mod error;
pub mod filter;
pub mod freshness;
pub mod ids;
pub mod index;
pub mod peer;
pub mod position;
pub mod principal;
pub mod request;
pub mod scope;
pub mod search;
pub mod session;
pub mod table;
pub mod token;
pub mod view;

pub use answers::{Difference, DifferenceKind, Hit, Verdict};
pub use error::{Error, Resource, Result, Violation};
pub use filter::{Filter, MAX_VALUE_BYTES, Scalar};
pub use freshness::{Bounds, Freshness, Need};
pub use ids::{Role, TableName};
pub use peer::PeerCertificate;
pub use position::{Incarnation, Position};
pub use principal::{Principal, Proof};
pub use request::{Done, RequestId, WriteRequest};
pub use scope::TableScope;
pub use session::Session;
pub use token::{TokenFault, TokenKey};

//! What a handler tells the access log about its request.

use std::sync::{Arc, OnceLock};

use crate::domain::view::Served;

/// Fields of the access log's line that only a handler knows. The stack puts
/// one into the extensions of each request; each field is written once, the
/// first value stays.
#[derive(Debug, Clone, Default)]
pub struct RequestFacts(Arc<Fields>);

#[derive(Debug, Default)]
struct Fields {
    table: OnceLock<String>,
    version: OnceLock<u64>,
    connection: OnceLock<Arc<str>>,
    route: OnceLock<String>,
}

impl RequestFacts {
    /// Those of a request. Without the stack they lead nowhere.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The table that the request is about.
    pub fn table(&self, name: &str) {
        self.0.table.get_or_init(|| name.to_owned());
    }

    /// Who answered, at which version, and why.
    pub fn served(&self, served: &Served) {
        let route = &served.route;
        self.0.connection.get_or_init(|| Arc::clone(&route.name));
        self.0.route.get_or_init(|| route.to_string());
        if served.version != 0 {
            self.0.version.get_or_init(|| served.version);
        }
    }

    /// Which node answered a request that was forwarded, and how it got there.
    /// `version` is 0 where no table is concerned.
    pub fn forwarded(&self, connection: &str, route: &str, version: u64) {
        self.0.connection.get_or_init(|| connection.into());
        self.0.route.get_or_init(|| route.to_owned());
        if version != 0 {
            self.0.version.get_or_init(|| version);
        }
    }

    pub(super) fn get_table(&self) -> Option<&str> {
        self.0.table.get().map(String::as_str)
    }

    pub(super) fn get_version(&self) -> Option<u64> {
        self.0.version.get().copied()
    }

    pub(super) fn get_connection(&self) -> Option<&str> {
        self.0.connection.get().map(AsRef::as_ref)
    }

    pub(super) fn get_route(&self) -> Option<&str> {
        self.0.route.get().map(String::as_str)
    }
}

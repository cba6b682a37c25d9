//! What a handler tells the stack about its request.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::domain::{Done, Principal, RequestId, view::Served};

/// What only a handler knows: fields of the access log's line, what the gate has to
/// hear, and what is to be done afterwards. The stack puts one into the extensions of
/// each request; each field of the line is written once, the first value stays.
#[derive(Clone, Default)]
pub struct RequestFacts(Arc<Fields>);

/// What is to be done when a client has been sent its answer.
type After = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Fields {
    table: OnceLock<String>,
    version: OnceLock<u64>,
    connection: OnceLock<Arc<str>>,
    route: OnceLock<String>,
    principal: OnceLock<Arc<Principal>>,
    version_before: OnceLock<u64>,
    write_id: OnceLock<String>,
    done: OnceLock<Done>,
    bounds: AtomicBool,
    after: Mutex<Option<After>>,
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

    /// Who asks. A layer that refuses somebody whom it knows says so here.
    pub fn principal(&self, principal: &Arc<Principal>) {
        self.0.principal.get_or_init(|| Arc::clone(principal));
    }

    /// The newest version that is known of the table before something is done to it.
    pub fn version_before(&self, version: u64) {
        self.0.version_before.get_or_init(|| version);
    }

    /// What the client calls the write. What is no id may be anything: it is not told.
    pub fn write_id(&self, id: &RequestId) {
        self.0.write_id.get_or_init(|| id.as_str().to_owned());
    }

    /// What a write made.
    pub fn done(&self, done: &Done) {
        self.0.done.get_or_init(|| *done);
    }

    /// The request asks for a version that may have to be waited for.
    pub fn bounds(&self) {
        self.0.bounds.store(true, Ordering::Relaxed);
    }

    /// Has something done once the client has been sent the whole answer. It is not
    /// done where the request fails or the client goes away.
    pub fn after(&self, act: impl FnOnce() + Send + 'static) {
        *self.lock_after() = Some(Box::new(act));
    }

    pub(super) fn take_after(&self) -> Option<After> {
        self.lock_after().take()
    }

    fn lock_after(&self) -> MutexGuard<'_, Option<After>> {
        self.0.after.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) fn has_bounds(&self) -> bool {
        self.0.bounds.load(Ordering::Relaxed)
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

    pub(super) fn get_principal(&self) -> Option<&Arc<Principal>> {
        self.0.principal.get()
    }

    pub(super) fn get_version_before(&self) -> Option<u64> {
        self.0.version_before.get().copied()
    }

    pub(super) fn get_write_id(&self) -> Option<&str> {
        self.0.write_id.get().map(String::as_str)
    }

    pub(super) fn get_done(&self) -> Option<&Done> {
        self.0.done.get()
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

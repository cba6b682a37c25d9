//! What an operator asked to be done to a replica: set down by a request, carried
//! out by the task that keeps the replica true.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::domain::{Result, TableName};

/// Who waits for a table to be rebuilt; answered with its version.
pub type Waiting = Vec<oneshot::Sender<Result<u64>>>;

/// The open orders of one replica, at most one a table.
#[derive(Default)]
pub struct Orders {
    rebuild: Mutex<HashMap<TableName, Waiting>>,
    arrived: Notify,
}

impl Orders {
    /// Orders that a table's copy be replaced by the primary's. The receiver gets
    /// the version once that is served; the order stands if nobody waits for it.
    pub fn rebuild(&self, table: &TableName) -> oneshot::Receiver<Result<u64>> {
        let (send, receive) = oneshot::channel();
        self.rebuild
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(table.clone())
            .or_default()
            .push(send);
        self.arrived.notify_one();
        receive
    }

    /// Takes the open orders: whoever does carries them out and answers.
    pub fn take(&self) -> HashMap<TableName, Waiting> {
        std::mem::take(&mut *self.rebuild.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is an order.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

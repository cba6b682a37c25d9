//! The lane of a table: who has it is the only one of this process that writes the table.
//! A lane goes with its table, and whoever waited for it has nothing of the next table
//! of that name.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::{Primary, Requests, lock, tables::Table};
use crate::{
    config::failpoint,
    domain::{Result, TableName},
};

impl Primary {
    /// Takes a table's lane: until the guard is dropped nobody else writes it
    /// through this server.
    pub(super) async fn lane(&self, name: &TableName) -> OwnedMutexGuard<Requests> {
        self.turn(name, Table::lane).await
    }

    /// The lane of a table that there is.
    ///
    /// # Errors
    /// Those of opening it.
    pub(super) async fn lane_of(&self, name: &TableName) -> Result<OwnedMutexGuard<Requests>> {
        self.turn_of(name, Table::lane).await
    }

    /// Held while old versions of a table that there is are deleted.
    ///
    /// # Errors
    /// Those of opening it.
    pub(super) async fn pruning_of(&self, name: &TableName) -> Result<OwnedMutexGuard<()>> {
        self.turn_of(name, Table::pruning).await
    }

    /// Held while all of a table is deleted: nobody writes it, and nobody prunes it.
    pub(super) async fn alone(
        &self,
        name: &TableName,
    ) -> (OwnedMutexGuard<()>, OwnedMutexGuard<Requests>) {
        self.turn(name, Table::alone).await
    }

    /// Waits for locks of a table until they are those of the table of that name.
    async fn turn<G, F>(&self, name: &TableName, locks: fn(Arc<Table>) -> F) -> G
    where
        F: Future<Output = G>,
    {
        loop {
            if let Some(held) = self.attempt(name, locks).await {
                return held;
            }
        }
    }

    /// As `turn`, for a table that there is: it is opened first, so that an unknown one
    /// leaves nothing behind.
    async fn turn_of<G, F>(&self, name: &TableName, locks: fn(Arc<Table>) -> F) -> Result<G>
    where
        F: Future<Output = G>,
    {
        loop {
            self.head(name).await?;
            if let Some(held) = self.attempt(name, locks).await {
                return Ok(held);
            }
        }
    }

    /// Waits for locks of a table once; nothing if the table went meanwhile.
    async fn attempt<G, F>(&self, name: &TableName, locks: fn(Arc<Table>) -> F) -> Option<G>
    where
        F: Future<Output = G>,
    {
        let table = self.table(name);
        let held = locks(Arc::clone(&table)).await;
        self.is_known(name, &table).then_some(held)
    }

    /// Whether this is still the table of that name: it may have been dropped while
    /// somebody waited for it, and another one may be there.
    fn is_known(&self, name: &TableName, table: &Arc<Table>) -> bool {
        let tables = lock(&self.tables);
        let known = tables.get(name).is_some_and(|now| Arc::ptr_eq(&now, table));
        known || failpoint::breaks("lane:of-the-dead")
    }
}

impl Table {
    async fn lane(self: Arc<Self>) -> OwnedMutexGuard<Requests> {
        let lane = match failpoint::breaks("once:no-lane") {
            true => Arc::default(),
            false => Arc::clone(&self.lane),
        };
        lane.lock_owned().await
    }

    async fn pruning(self: Arc<Self>) -> OwnedMutexGuard<()> {
        Arc::clone(&self.pruning).lock_owned().await
    }

    async fn alone(self: Arc<Self>) -> (OwnedMutexGuard<()>, OwnedMutexGuard<Requests>) {
        let pruning = Arc::clone(&self).pruning().await;
        (pruning, self.lane().await)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures::poll;

    use super::{super::Head, *};
    use crate::{
        config::{self, Sources},
        connection::{Connection, Events},
        domain::{Error, Role},
        storage::Sessions,
    };

    async fn primary(folder: &tempfile::TempDir) -> Primary {
        let config = config::load(Sources {
            data_dir: Some(folder.path().to_owned()),
            ..Sources::default()
        })
        .unwrap();
        let location = config.primary.location().unwrap().clone();
        let connection = Connection::new(Role::Primary, location, Events::default());
        connection.open(&Sessions::new(config.cache)).await.unwrap();
        Primary::new(Arc::new(connection), Vec::new(), config.writes)
    }

    async fn create(primary: &Primary, name: &TableName) {
        let column = arrow::datatypes::Field::new("x", arrow::datatypes::DataType::Int32, true);
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![column]));
        let store = primary.connection.store().unwrap();
        store.create(name, schema, Vec::new()).await.unwrap();
    }

    /// A table goes while others wait for it, with the next one of its name there or not.
    #[tokio::test]
    async fn who_waits_for_a_table_that_goes_has_nothing_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let primary = primary(&folder).await;
        let name = TableName::parse("t").unwrap();
        create(&primary, &name).await;
        for is_created_anew in [false, true] {
            let lane = primary.lane_of(&name).await.unwrap();
            let mut writer = pin!(primary.lane_of(&name));
            let mut dropper = pin!(primary.alone(&name));
            assert!(poll!(&mut writer).is_pending() && poll!(&mut dropper).is_pending());
            let store = primary.connection.store().unwrap();
            store.drop_table(&name).await.unwrap();
            primary.look_alone(&store, &name).await.unwrap();
            if !is_created_anew {
                drop(lane);
                let refused = writer.await.err();
                assert!(
                    matches!(refused, Some(Error::NotFound { .. })),
                    "{refused:?}"
                );
                drop(dropper.await);
                create(&primary, &name).await;
                continue;
            }
            create(&primary, &name).await;
            let next = primary.lane_of(&name).await.unwrap();
            drop(lane);
            // Both are after the next table now, and wait for whoever has that.
            let second = Duration::from_secs(1);
            let waits = tokio::time::timeout(second, &mut writer).await;
            assert!(waits.is_err(), "two have the table");
            assert!(poll!(&mut dropper).is_pending());
            drop(next);
            drop(writer.await.unwrap());
            dropper.await;
        }
    }

    /// A table goes after somebody has opened it, and before what was opened is kept.
    #[tokio::test]
    async fn nobody_keeps_a_table_that_went_while_it_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let primary = primary(&folder).await;
        let name = TableName::parse("t").unwrap();
        let store = primary.connection.store().unwrap();
        create(&primary, &name).await;
        let gone = lock(&primary.tables).gone;
        let head = Head(store.open_marked(&name).await.unwrap());
        assert!(primary.keep(&name, &head, gone));
        store.drop_table(&name).await.unwrap();
        lock(&primary.tables).remove(&name);
        assert!(!primary.keep(&name, &head, gone));
        let refused = primary.head(&name).await.err();
        assert!(
            matches!(refused, Some(Error::NotFound { .. })),
            "{refused:?}"
        );
        assert!(lock(&primary.tables).get(&name).is_none());
    }
}

//! The ways to the primary: looking, asking, changing, maintaining.

use std::sync::Arc;

use super::source::{Source, source};
use crate::{
    connection::Lane,
    domain::{Error, Result, TableName, TableScope, view::Served},
    proto::v1 as pb,
    service::{api::Api, stack::Allowed},
    storage::{Handle, Snapshot},
};

impl Api {
    /// Creates a table. Answers its version.
    pub(super) async fn create(
        &self,
        request: pb::CreateTableRequest,
        allowed: Allowed,
    ) -> Result<(u64, Served)> {
        let table = TableName::parse(&request.table)?;
        let Source { schema, batches } = source(request.source)?;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64);
        allowed.written(rows.sum())?;
        let route = self.router.write_route()?;
        let primary = self.router.primary();
        let name = table.clone();
        let created = primary
            .create(&table, move |store| async move {
                store.create(&name, schema, batches).await
            })
            .await;
        let position = match created {
            Err(Error::AlreadyExists { .. }) if request.exist_ok => {
                primary.snapshot(&table).await?.position()
            }
            other => other?,
        };
        let served = self.router.served(route, &table, &position);
        Ok((position.version, served))
    }

    /// Looks at the newest known version on the primary.
    pub(super) async fn look<T, F, Fut>(
        &self,
        table: &str,
        scope: &Arc<TableScope>,
        look: F,
    ) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let snapshot = self.router.primary().snapshot(&table).await?;
        let position = snapshot.position();
        let seen = look(snapshot.seen_by(scope)?).await?;
        Ok((seen, self.router.served(route, &table, &position)))
    }

    /// Asks the primary what is not part of a version.
    pub(super) async fn ask<T, F, Fut>(&self, table: &str, ask: F) -> Result<(T, Served)>
    where
        F: FnOnce(Handle) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let head = self.router.primary().head(&table).await?;
        let answer = ask(head.handle().clone()).await?;
        let position = self.router.primary().snapshot(&table).await?.position();
        Ok((answer, self.router.served(route, &table, &position)))
    }

    /// Does something with an old version of a table, which is not pruned meanwhile.
    pub(super) async fn holding<T, F>(
        &self,
        table: &str,
        version: u64,
        work: impl FnOnce() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let table = TableName::parse(table)?;
        self.router.write_route()?;
        self.router.primary().holding(&table, version, work).await
    }

    /// Changes a table. Answers the version afterwards too.
    pub(super) async fn change<T, F, Fut>(
        &self,
        table: &str,
        scope: &Arc<TableScope>,
        lane: Lane,
        change: F,
    ) -> Result<((T, u64), Served)>
    where
        T: Send + 'static,
        F: FnOnce(Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let (done, served) = self
            .write(table, scope, lane, move |handle| {
                with_version(handle, change)
            })
            .await?;
        let version = done.1;
        Ok((done, Served { version, ..served }))
    }
}

async fn with_version<T, F, Fut>(handle: Handle, work: F) -> Result<(T, u64)>
where
    F: FnOnce(Handle) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let done = work(handle.clone()).await?;
    Ok((done, handle.version().await?))
}

//! TableService: tables, their columns, indexes, versions and tags.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    api::{Api, Call, answer, time_left},
    search::page_size,
    table_source::{Source, source},
};
use crate::{
    domain::{Error, Result, TableName, table::VersionRef, view::Served},
    proto::v1 as pb,
    storage::{Handle, Snapshot},
    wire::{
        self,
        page::{decode_name, encode_name},
    },
};

type Reply<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::table_service_server::TableService for Api {
    async fn create_table(
        &self,
        request: Request<pb::CreateTableRequest>,
    ) -> Reply<pb::CreateTableResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = self.run_create(call.message).await;
        answer(&call.extensions, &name, outcome, |version, served| {
            Ok(pb::CreateTableResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn drop_table(
        &self,
        request: Request<pb::DropTableRequest>,
    ) -> Reply<pb::DropTableResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            let table = TableName::parse(name)?;
            let route = self.router.write_route()?;
            match self.router.primary().drop_table(&table).await {
                Err(Error::NotFound { .. }) if call.message.ignore_missing => {}
                other => other?,
            }
            Ok(((), self.router.served(route, &table, 0)))
        };
        answer(&call.extensions, name, outcome.await, |(), served| {
            Ok(pb::DropTableResponse {
                served: Some(served),
            })
        })
    }

    async fn list_tables(
        &self,
        request: Request<pb::ListTablesRequest>,
    ) -> Reply<pb::ListTablesResponse> {
        let call = Call::from(request);
        let outcome = async {
            let size = page_size(call.message.page_size, &self.limits)?;
            let after = decode_name(&call.message.page_token)?;
            let route = self.router.write_route()?;
            let all = self.router.primary().connection().catalog().all();
            let mut names: Vec<&TableName> = all
                .keys()
                .filter(|name| after.as_deref().is_none_or(|after| name.as_str() > after))
                .collect();
            names.sort_unstable();
            let next = match names.get(size.wrapping_sub(1)) {
                Some(last) if names.len() > size => encode_name(last.as_str()),
                _ => String::new(),
            };
            names.truncate(size);
            let names: Vec<String> = names.into_iter().map(ToString::to_string).collect();
            Ok(((names, next), table_less(route)))
        };
        answer(&call.extensions, "", outcome.await, |(tables, next), served| {
            Ok(pb::ListTablesResponse {
                tables,
                next_page_token: next,
                served: Some(served),
            })
        })
    }

    async fn describe_table(
        &self,
        request: Request<pb::DescribeTableRequest>,
    ) -> Reply<pb::DescribeTableResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .look(name, |snapshot| async move { snapshot.describe().await })
            .await;
        answer(&call.extensions, name, outcome, |info, served| {
            wire::table::describe(name, info, served)
        })
    }

    async fn create_index(
        &self,
        request: Request<pb::CreateIndexRequest>,
    ) -> Reply<pb::CreateIndexResponse> {
        let call = Call::from(request);
        let (name, message) = (call.message.table.clone(), call.message);
        let outcome = async {
            let spec = wire::index::index_spec(message.index, "index")?;
            let columns = message.columns;
            if columns.len() != 1 {
                return Err(Error::invalid("columns", "must have one column"));
            }
            let index_name = Some(message.name).filter(|n| !n.is_empty());
            let replace = message.replace.unwrap_or(true);
            self.maintain(&name, |handle| async move {
                handle
                    .create_index(&columns, spec, index_name, replace)
                    .await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |((), version), served| {
            Ok(pb::CreateIndexResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn drop_index(
        &self,
        request: Request<pb::DropIndexRequest>,
    ) -> Reply<pb::DropIndexResponse> {
        let call = Call::from(request);
        let (name, index) = (call.message.table.clone(), call.message.name);
        let outcome = async {
            required("name", &index)?;
            self.change(&name, |handle| async move { handle.drop_index(&index).await })
                .await
        };
        answer(&call.extensions, &name, outcome.await, |((), version), served| {
            Ok(pb::DropIndexResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn list_indexes(
        &self,
        request: Request<pb::ListIndexesRequest>,
    ) -> Reply<pb::ListIndexesResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .look(name, |snapshot| async move {
                Ok(snapshot.indexes().await?.to_vec())
            })
            .await;
        answer(&call.extensions, name, outcome, |indexes, served| {
            Ok(pb::ListIndexesResponse {
                indexes: indexes.into_iter().map(wire::index::index_info).collect(),
                served: Some(served),
            })
        })
    }

    async fn wait_for_indexes(
        &self,
        request: Request<pb::WaitForIndexesRequest>,
    ) -> Reply<pb::WaitForIndexesResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let left = time_left(&call.extensions, &self.limits);
        let outcome = async {
            let timeout = match call.message.timeout {
                Some(asked) => wire::table::duration(asked, "timeout")?.min(left),
                None => left,
            };
            let names = call.message.names;
            self.maintain(&name, |handle| async move {
                handle.wait_for_indexes(&names, timeout).await
            })
            .await?;
            self.look(&name, |snapshot| async move {
                Ok(snapshot.indexes().await?.to_vec())
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |indexes, served| {
            Ok(pb::WaitForIndexesResponse {
                indexes: indexes.into_iter().map(wire::index::index_info).collect(),
                served: Some(served),
            })
        })
    }

    async fn optimize_table(
        &self,
        request: Request<pb::OptimizeTableRequest>,
    ) -> Reply<pb::OptimizeTableResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let options = wire::table::optimize_options(&call.message)?;
            self.maintain(&name, |handle| async move { handle.optimize(options).await })
                .await
        };
        answer(&call.extensions, &name, outcome.await, |(done, version), served| {
            Ok(pb::OptimizeTableResponse {
                fragments_removed: done.fragments_removed,
                fragments_added: done.fragments_added,
                versions_removed: done.versions_removed,
                bytes_removed: done.bytes_removed,
                version,
                served: Some(served),
            })
        })
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Reply<pb::ListVersionsResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            let size = page_size(call.message.page_size, &self.limits)?;
            let before = decode_name(&call.message.page_token)?
                .map(|number| number.parse::<u64>())
                .transpose()
                .map_err(|_| Error::invalid("page_token", "is not one of this server"))?;
            let (mut versions, served) = self
                .ask(name, |handle| async move { handle.versions().await })
                .await?;
            versions.retain(|v| before.is_none_or(|before| v.version < before));
            let next = match versions.get(size.wrapping_sub(1)) {
                Some(last) if versions.len() > size => encode_name(&last.version.to_string()),
                _ => String::new(),
            };
            versions.truncate(size);
            Ok(((versions, next), served))
        };
        answer(&call.extensions, name, outcome.await, |(versions, next), served| {
            Ok(pb::ListVersionsResponse {
                versions: versions
                    .into_iter()
                    .map(wire::table::version_info)
                    .collect(),
                next_page_token: next,
                served: Some(served),
            })
        })
    }

    async fn restore_version(
        &self,
        request: Request<pb::RestoreVersionRequest>,
    ) -> Reply<pb::RestoreVersionResponse> {
        use pb::restore_version_request::Target;
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let target = match call.message.target {
                Some(Target::Version(number)) => VersionRef::Number(number),
                Some(Target::Tag(tag)) => VersionRef::Tag(tag),
                None => return Err(Error::invalid("target", "is required: version or tag")),
            };
            self.change(&name, |handle| async move { handle.restore(&target).await })
                .await
        };
        answer(&call.extensions, &name, outcome.await, |((), version), served| {
            Ok(pb::RestoreVersionResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn create_tag(
        &self,
        request: Request<pb::CreateTagRequest>,
    ) -> Reply<pb::CreateTagResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let tag = tag(call.message.tag)?;
            self.ask(&name, |handle| async move {
                handle.create_tag(&tag.name, tag.version).await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |(), served| {
            Ok(pb::CreateTagResponse {
                served: Some(served),
            })
        })
    }

    async fn update_tag(
        &self,
        request: Request<pb::UpdateTagRequest>,
    ) -> Reply<pb::UpdateTagResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let tag = tag(call.message.tag)?;
            self.ask(&name, |handle| async move {
                handle.update_tag(&tag.name, tag.version).await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |(), served| {
            Ok(pb::UpdateTagResponse {
                served: Some(served),
            })
        })
    }

    async fn delete_tag(
        &self,
        request: Request<pb::DeleteTagRequest>,
    ) -> Reply<pb::DeleteTagResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            required("name", &call.message.name)?;
            self.ask(name, |handle| async move {
                handle.delete_tag(&call.message.name).await
            })
            .await
        };
        answer(&call.extensions, name, outcome.await, |(), served| {
            Ok(pb::DeleteTagResponse {
                served: Some(served),
            })
        })
    }

    async fn list_tags(&self, request: Request<pb::ListTagsRequest>) -> Reply<pb::ListTagsResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .ask(name, |handle| async move { handle.tags().await })
            .await;
        answer(&call.extensions, name, outcome, |tags, served| {
            Ok(pb::ListTagsResponse {
                tags: tags
                    .into_iter()
                    .map(|(name, version)| pb::Tag { name, version })
                    .collect(),
                served: Some(served),
            })
        })
    }

    async fn add_columns(
        &self,
        request: Request<pb::AddColumnsRequest>,
    ) -> Reply<pb::AddColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let columns = wire::table::new_columns(call.message.source, &self.limits)?;
            let depth = self.limits.max_filter_depth;
            self.change(&name, |handle| async move {
                handle.add_columns(columns, depth).await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |(version, _), served| {
            Ok(pb::AddColumnsResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn alter_columns(
        &self,
        request: Request<pb::AlterColumnsRequest>,
    ) -> Reply<pb::AlterColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let alterations = wire::table::alterations(call.message.alterations)?;
            self.change(&name, |handle| async move {
                handle.alter_columns(alterations).await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |(version, _), served| {
            Ok(pb::AlterColumnsResponse {
                version,
                served: Some(served),
            })
        })
    }

    async fn drop_columns(
        &self,
        request: Request<pb::DropColumnsRequest>,
    ) -> Reply<pb::DropColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let columns = wire::query::columns(call.message.columns, "columns")?
                .ok_or_else(|| Error::invalid("columns", "is required"))?;
            self.change(&name, |handle| async move {
                handle.drop_columns(&columns).await
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |(version, _), served| {
            Ok(pb::DropColumnsResponse {
                version,
                served: Some(served),
            })
        })
    }
}

impl Api {
    async fn run_create(&self, request: pb::CreateTableRequest) -> Result<(u64, Served)> {
        let table = TableName::parse(&request.table)?;
        let Source { schema, batches } = source(request.source)?;
        let route = self.router.write_route()?;
        let primary = self.router.primary();
        let name = table.clone();
        let created = primary
            .create(&table, |store| async move {
                store.create(&name, schema, batches).await
            })
            .await;
        let version = match created {
            Err(Error::AlreadyExists { .. }) if request.exist_ok => {
                primary.snapshot(&table).await?.version()
            }
            other => other?,
        };
        Ok((version, self.router.served(route, &table, version)))
    }

    /// Looks at the newest known version on the primary.
    async fn look<T, F, Fut>(&self, table: &str, look: F) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let snapshot = self.router.primary().snapshot(&table).await?;
        let version = snapshot.version();
        let seen = look(snapshot).await?;
        Ok((seen, self.router.served(route, &table, version)))
    }

    /// Asks the primary what is not part of a version.
    async fn ask<T, F, Fut>(&self, table: &str, ask: F) -> Result<(T, Served)>
    where
        F: FnOnce(Handle) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let head = self.router.primary().head(&table).await?;
        let answer = ask(head.handle().clone()).await?;
        let version = self.router.primary().snapshot(&table).await?.version();
        Ok((answer, self.router.served(route, &table, version)))
    }

    /// Changes a table in its lane. Answers the version afterwards too.
    async fn change<T, F, Fut>(&self, table: &str, change: F) -> Result<((T, u64), Served)>
    where
        T: Send + 'static,
        F: FnOnce(Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let done = self
            .router
            .primary()
            .write(&table, |handle| with_version(handle, change))
            .await?;
        let served = self.router.served(route, &table, done.1);
        Ok((done, served))
    }

    /// The same outside the lane, for what takes long.
    async fn maintain<T, F, Fut>(&self, table: &str, work: F) -> Result<((T, u64), Served)>
    where
        T: Send + 'static,
        F: FnOnce(Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let done = self
            .router
            .primary()
            .maintain(&table, |handle| with_version(handle, work))
            .await?;
        let served = self.router.served(route, &table, done.1);
        Ok((done, served))
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

fn table_less(route: crate::domain::view::Route) -> Served {
    Served {
        route,
        version: 0,
        lag: crate::domain::view::Lag::default(),
    }
}

fn required(field: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(field, "is required"));
    }
    Ok(())
}

fn tag(tag: Option<pb::Tag>) -> Result<pb::Tag> {
    let tag = tag.ok_or_else(|| Error::invalid("tag", "is required"))?;
    required("tag.name", &tag.name)?;
    if tag.version == 0 {
        return Err(Error::invalid("tag.version", "is required"));
    }
    Ok(tag)
}

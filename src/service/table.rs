//! TableService: tables, their columns, indexes, versions and tags.

use tonic::{Request, Response, Status};

use super::api::{Api, Call, answer, time_left};
use crate::{
    domain::{Error, Result, TableName, view::Served},
    proto::v1 as pb,
    wire::{
        self,
        page::{decode_name, encode_name},
        query::page_size,
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
        answer(
            &call.extensions,
            "",
            outcome.await,
            |(tables, next), served| {
                Ok(pb::ListTablesResponse {
                    tables,
                    next_page_token: next,
                    served: Some(served),
                })
            },
        )
    }

    async fn describe_table(
        &self,
        request: Request<pb::DescribeTableRequest>,
    ) -> Reply<pb::DescribeTableResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .look(
                name,
                move |snapshot| async move { snapshot.describe().await },
            )
            .await;
        answer(&call.extensions, name, outcome, |info, served| {
            wire::table::description(name.clone(), info, served)
        })
    }

    async fn create_index(
        &self,
        request: Request<pb::CreateIndexRequest>,
    ) -> Reply<pb::CreateIndexResponse> {
        let call = Call::from(request);
        let (name, message) = (call.message.table.clone(), call.message);
        let outcome = async {
            let spec = wire::index::spec(message.index)?;
            let column = wire::index::column(message.columns)?;
            let index_name = Some(message.name).filter(|n| !n.is_empty());
            let replace = message.replace.unwrap_or(true);
            self.maintain(&name, move |handle| async move {
                handle
                    .create_index(&column, spec, index_name, replace)
                    .await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |((), version), served| {
                Ok(pb::CreateIndexResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    async fn drop_index(
        &self,
        request: Request<pb::DropIndexRequest>,
    ) -> Reply<pb::DropIndexResponse> {
        let call = Call::from(request);
        let (name, index) = (call.message.table.clone(), call.message.name);
        let outcome = async {
            required("name", &index)?;
            self.change(&name, move |handle| async move {
                handle.drop_index(&index).await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |((), version), served| {
                Ok(pb::DropIndexResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    async fn list_indexes(
        &self,
        request: Request<pb::ListIndexesRequest>,
    ) -> Reply<pb::ListIndexesResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .look(name, move |snapshot| async move {
                Ok(snapshot.indexes().await?.to_vec())
            })
            .await;
        answer(&call.extensions, name, outcome, |indexes, served| {
            Ok(pb::ListIndexesResponse {
                indexes: indexes.into_iter().map(wire::index::info).collect(),
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
            let asked = wire::table::duration(call.message.timeout, "timeout")?;
            let timeout = asked.map_or(left, |asked| asked.min(left));
            let names = call.message.names;
            self.maintain(&name, move |handle| async move {
                handle.wait_for_indexes(&names, timeout).await
            })
            .await?;
            self.look(&name, move |snapshot| async move {
                Ok(snapshot.indexes().await?.to_vec())
            })
            .await
        };
        answer(&call.extensions, &name, outcome.await, |indexes, served| {
            Ok(pb::WaitForIndexesResponse {
                indexes: indexes.into_iter().map(wire::index::info).collect(),
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
            self.maintain(&name, move |handle| async move {
                handle.optimize(options).await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |(done, version), served| Ok(wire::table::optimized(done, version, served)),
        )
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
                .ask(name, move |handle| async move { handle.versions().await })
                .await?;
            versions.retain(|v| before.is_none_or(|before| v.version < before));
            let next = match versions.get(size.wrapping_sub(1)) {
                Some(last) if versions.len() > size => encode_name(&last.version.to_string()),
                _ => String::new(),
            };
            versions.truncate(size);
            Ok(((versions, next), served))
        };
        answer(
            &call.extensions,
            name,
            outcome.await,
            |(versions, next), served| {
                Ok(pb::ListVersionsResponse {
                    versions: versions
                        .into_iter()
                        .map(wire::table::version_info)
                        .collect(),
                    next_page_token: next,
                    served: Some(served),
                })
            },
        )
    }

    async fn restore_version(
        &self,
        request: Request<pb::RestoreVersionRequest>,
    ) -> Reply<pb::RestoreVersionResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let target = wire::table::version_ref(call.message.target)?;
            self.change(
                &name,
                move |handle| async move { handle.restore(&target).await },
            )
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |((), version), served| {
                Ok(pb::RestoreVersionResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    async fn create_tag(
        &self,
        request: Request<pb::CreateTagRequest>,
    ) -> Reply<pb::CreateTagResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let (tag, version) = wire::table::tag(call.message.tag)?;
            self.ask(&name, move |handle| async move {
                handle.create_tag(&tag, version).await
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
            let (tag, version) = wire::table::tag(call.message.tag)?;
            self.ask(&name, move |handle| async move {
                handle.update_tag(&tag, version).await
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
            let tag = wire::table::tag_name(call.message.name, "name")?;
            self.ask(
                name,
                move |handle| async move { handle.delete_tag(&tag).await },
            )
            .await
        };
        answer(&call.extensions, name, outcome.await, |(), served| {
            Ok(pb::DeleteTagResponse {
                served: Some(served),
            })
        })
    }

    async fn list_tags(
        &self,
        request: Request<pb::ListTagsRequest>,
    ) -> Reply<pb::ListTagsResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = self
            .ask(name, move |handle| async move { handle.tags().await })
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
            self.change(&name, move |handle| async move {
                handle.add_columns(columns, depth).await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |(version, _), served| {
                Ok(pb::AddColumnsResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    async fn alter_columns(
        &self,
        request: Request<pb::AlterColumnsRequest>,
    ) -> Reply<pb::AlterColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let alterations = wire::table::alterations(call.message.alterations)?;
            self.change(&name, move |handle| async move {
                handle.alter_columns(alterations).await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |(version, _), served| {
                Ok(pb::AlterColumnsResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    async fn drop_columns(
        &self,
        request: Request<pb::DropColumnsRequest>,
    ) -> Reply<pb::DropColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let outcome = async {
            let columns = wire::table::dropped_columns(call.message.columns)?;
            self.change(&name, move |handle| async move {
                handle.drop_columns(&columns).await
            })
            .await
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |(version, _), served| {
                Ok(pb::DropColumnsResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }
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

//! TableService: indexes.

use std::sync::Arc;

use tonic::Request;

use super::Reply;
use crate::{
    config::AccessRole::{Admin, Reader},
    connection::Lane,
    domain::{Error, Resource, Result, TableScope},
    proto::v1 as pb,
    service::{
        allowed::allowed,
        api::{Api, Call, answer, time_left},
    },
    wire,
};

impl Api {
    pub(super) async fn run_create_index(
        &self,
        request: Request<pb::CreateIndexRequest>,
    ) -> Reply<pb::CreateIndexResponse> {
        let call = Call::from(request);
        let (name, message) = (call.message.table.clone(), call.message);
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let spec = wire::index::spec(message.index)?;
            let column = wire::index::column(message.columns)?;
            let index_name = Some(message.name).filter(|n| !n.is_empty());
            let replace = message.replace.unwrap_or(true);
            self.change(&name, &scope, Lane::Beside, move |handle| async move {
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

    pub(super) async fn run_drop_index(
        &self,
        request: Request<pb::DropIndexRequest>,
    ) -> Reply<pb::DropIndexResponse> {
        let call = Call::from(request);
        let (name, index) = (call.message.table.clone(), call.message.name);
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            if index.is_empty() {
                return Err(Error::invalid("name", "is required"));
            }
            self.change(&name, &scope, Lane::Alone, move |handle| async move {
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

    pub(super) async fn run_list_indexes(
        &self,
        request: Request<pb::ListIndexesRequest>,
    ) -> Reply<pb::ListIndexesResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            let scope = allowed(&call.extensions, name, Reader)?;
            self.look(name, &scope, move |snapshot| async move {
                Ok(snapshot.indexes().await?.into_owned())
            })
            .await
        };
        answer(&call.extensions, name, outcome.await, |indexes, served| {
            Ok(pb::ListIndexesResponse {
                indexes: indexes.into_iter().map(wire::index::info).collect(),
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_wait_for_indexes(
        &self,
        request: Request<pb::WaitForIndexesRequest>,
    ) -> Reply<pb::WaitForIndexesResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let left = time_left(&call.extensions, &self.limits());
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Reader)?;
            let asked = wire::table::duration(call.message.timeout, "timeout")?;
            let timeout = asked.map_or(left, |asked| asked.min(left));
            let names = call.message.names;
            if !scope.hidden.is_empty() {
                self.must_show(&name, &scope, &names).await?;
            }
            self.change(&name, &scope, Lane::Beside, move |handle| async move {
                handle.wait_for_indexes(&names, timeout).await
            })
            .await?;
            self.look(&name, &scope, move |snapshot| async move {
                Ok(snapshot.indexes().await?.into_owned())
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

    /// Refuses the names of indexes that are not there for the caller, as those that
    /// nobody has.
    async fn must_show(
        &self,
        table: &str,
        scope: &Arc<TableScope>,
        names: &[String],
    ) -> Result<()> {
        let (shown, _) = self
            .look(table, scope, move |snapshot| async move {
                Ok(snapshot.indexes().await?.into_owned())
            })
            .await?;
        let unknown = |name: &&String| shown.iter().all(|index| index.name != **name);
        match names.iter().find(unknown) {
            Some(name) => Err(Error::not_found(Resource::Index, name)),
            None => Ok(()),
        }
    }
}

//! TableService: indexes.

use tonic::Request;

use super::Reply;
use crate::{
    connection::Lane,
    domain::Error,
    proto::v1 as pb,
    service::api::{Api, Call, answer, time_left},
    wire,
};

impl Api {
    pub(super) async fn run_create_index(
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
            self.change(&name, Lane::Beside, move |handle| async move {
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
        let outcome = async {
            if index.is_empty() {
                return Err(Error::invalid("name", "is required"));
            }
            self.change(&name, Lane::Alone, move |handle| async move {
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

    pub(super) async fn run_wait_for_indexes(
        &self,
        request: Request<pb::WaitForIndexesRequest>,
    ) -> Reply<pb::WaitForIndexesResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        let left = time_left(&call.extensions, &self.limits());
        let outcome = async {
            let asked = wire::table::duration(call.message.timeout, "timeout")?;
            let timeout = asked.map_or(left, |asked| asked.min(left));
            let names = call.message.names;
            self.change(&name, Lane::Beside, move |handle| async move {
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
}

//! TableService: columns.

use tonic::Request;

use super::Reply;
use crate::{
    config::AccessRole::Admin,
    connection::Lane,
    proto::v1 as pb,
    service::{
        allowed::allowed,
        api::{Api, Call, answer},
    },
    wire,
};

impl Api {
    pub(super) async fn run_add_columns(
        &self,
        request: Request<pb::AddColumnsRequest>,
    ) -> Reply<pb::AddColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let limits = self.limits();
            let columns = wire::table::new_columns(call.message.source, &limits)?;
            let rules = self.rules();
            self.change(&name, &scope, Lane::Alone, move |handle| async move {
                handle.add_columns(columns, &rules).await
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

    pub(super) async fn run_alter_columns(
        &self,
        request: Request<pb::AlterColumnsRequest>,
    ) -> Reply<pb::AlterColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let alterations = wire::table::alterations(call.message.alterations)?;
            self.change(&name, &scope, Lane::Alone, move |handle| async move {
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

    pub(super) async fn run_drop_columns(
        &self,
        request: Request<pb::DropColumnsRequest>,
    ) -> Reply<pb::DropColumnsResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let columns = wire::table::dropped_columns(call.message.columns)?;
            self.change(&name, &scope, Lane::Alone, move |handle| async move {
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

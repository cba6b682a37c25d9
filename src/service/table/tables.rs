//! TableService: tables themselves.

use std::sync::Arc;

use tonic::Request;

use super::Reply;
use crate::{
    access::Refusal,
    config::AccessRole::{Admin, Reader},
    connection::{Lane, Unwanted},
    domain::{
        Error, TableName,
        view::{Lag, Route, Served},
    },
    proto::v1 as pb,
    service::{
        allowed::{allowed, grants},
        api::{Api, Call, answer},
        stack::Allowed,
    },
    storage::Snapshot,
    telemetry::metrics,
    wire::{
        self,
        page::{decode_name, encode_name},
        query::page_size,
    },
};

impl Api {
    pub(super) async fn run_create_table(
        &self,
        request: Request<pb::CreateTableRequest>,
    ) -> Reply<pb::CreateTableResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            allowed(&call.extensions, &name, Admin)?;
            self.create(call.message, Allowed::of(&call.extensions))
                .await
        };
        answer(&call.extensions, &name, outcome.await, |version, served| {
            Ok(pb::CreateTableResponse {
                version,
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_drop_table(
        &self,
        request: Request<pb::DropTableRequest>,
    ) -> Reply<pb::DropTableResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        self.before(&call.extensions, name);
        let outcome = async {
            allowed(&call.extensions, name, Admin)?;
            let table = TableName::parse(name)?;
            let route = self.router.write_route()?;
            match self.router.primary().drop_table(&table).await {
                Err(Error::NotFound { .. }) if call.message.ignore_missing => {}
                other => other?,
            }
            // There is no version of it any more that a token could name.
            let served = Served {
                route,
                version: 0,
                lag: Lag::default(),
                origin: None,
            };
            Ok(((), served))
        };
        answer(&call.extensions, name, outcome.await, |(), served| {
            Ok(pb::DropTableResponse {
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_list_tables(
        &self,
        request: Request<pb::ListTablesRequest>,
    ) -> Reply<pb::ListTablesResponse> {
        let call = Call::from(request);
        let outcome = async {
            let grants = grants(&call.extensions).map_err(Refusal::error)?;
            let size = page_size(call.message.page_size, &self.limits())?;
            let after = decode_name(&call.message.page_token)?;
            let route = self.router.write_route()?;
            let all = self.router.primary().connection().catalog().all();
            let mut names: Vec<&TableName> = all
                .keys()
                .filter(|name| grants.sees(name.as_str()))
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

    pub(super) async fn run_describe_table(
        &self,
        request: Request<pb::DescribeTableRequest>,
    ) -> Reply<pb::DescribeTableResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            let scope = allowed(&call.extensions, name, Reader)?;
            let describe = move |snapshot: Arc<Snapshot>| async move { snapshot.describe().await };
            self.look(name, &scope, describe).await
        };
        answer(&call.extensions, name, outcome.await, |info, served| {
            wire::table::description(name.clone(), info, served)
        })
    }

    pub(super) async fn run_optimize_table(
        &self,
        request: Request<pb::OptimizeTableRequest>,
    ) -> Reply<pb::OptimizeTableResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let options = wire::table::optimize_options(&call.message)?;
            let change = self.change(&name, &scope, Lane::Beside, move |handle| async move {
                handle.optimize(options).await
            });
            let ((mut done, version), served) = change.await?;
            if let Some(age) = options.prune_older_than {
                let table = TableName::parse(&name)?;
                let primary = self.router.primary();
                let pruned = primary.prune(&table, Unwanted::OlderThan(age)).await?;
                metrics::pruned(primary.connection().name(), pruned.versions, pruned.bytes);
                done.versions_removed = pruned.versions;
                done.bytes_removed = pruned.bytes;
            }
            Ok(((done, version), served))
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |(done, version), served| Ok(wire::table::optimized(done, version, served)),
        )
    }
}

/// Who answered what is about no table.
fn table_less(route: Route) -> Served {
    Served {
        origin: None,
        route,
        version: 0,
        lag: Lag::default(),
    }
}

//! The searches that are run a second time.

use std::{sync::Arc, time::Duration};

use tonic::Extensions;

use crate::{
    domain::{TableName, view::Served},
    proto::v1 as pb,
    service::{
        api::Api,
        shadow::{Answered, Chosen},
        stack::RequestFacts,
    },
    storage::Rows,
    wire,
};

/// A search that is to be run again once it is answered.
pub(super) struct Again {
    chosen: Chosen,
    table: String,
    query: Option<pb::Query>,
}

impl Api {
    /// Whether a search is to be run again. Only of those the query is kept.
    pub(super) fn choose_again(&self, request: &pb::SearchRequest) -> Option<Again> {
        let chosen = self.shadow.as_ref()?.choose()?;
        Some(Again {
            chosen,
            table: request.table.clone(),
            query: request.query.clone(),
        })
    }

    /// Has a search run again, after its client has been sent these rows.
    pub(super) fn run_again(
        &self,
        again: Again,
        rows: &Rows,
        served: &Served,
        took: Duration,
        extensions: &Extensions,
    ) {
        let table = TableName::parse(&again.table);
        let search = wire::query::search(again.query, &self.limits());
        // They were parsed before, or there would be no rows.
        let (Ok(table), Ok(search)) = (table, search) else {
            return;
        };
        let Some(facts) = extensions.get::<RequestFacts>() else {
            return;
        };
        let rows = Rows {
            schema: Arc::clone(&rows.schema),
            batches: rows.batches.clone(),
        };
        facts.after(again.chosen.after(Answered {
            table,
            search,
            rows,
            served: served.clone(),
            took,
        }));
    }
}

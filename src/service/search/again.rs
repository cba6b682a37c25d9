//! The searches that are run a second time.

use std::{sync::Arc, time::Duration};

use tonic::{Extensions, metadata::MetadataMap};

use crate::{
    domain::{TableScope, view::Served},
    node::SHADOW,
    proto::v1 as pb,
    service::{
        api::Api,
        shadow::{Answer, Answered, Chosen, Credentials},
        stack::RequestFacts,
    },
    storage::Rows,
};

/// A search that is to be run again once it is answered.
pub(super) struct Again {
    chosen: Chosen,
    request: pb::SearchRequest,
    credentials: Credentials,
}

impl Api {
    /// Whether a search is to be run again. Only of those the query is kept.
    pub(super) fn choose_again(
        &self,
        request: &pb::SearchRequest,
        metadata: &MetadataMap,
    ) -> Option<Again> {
        let shadow = self.shadow.as_ref()?;
        // One that is run a second time itself is not run a third time.
        if metadata.contains_key(SHADOW) {
            return None;
        }
        let chosen = shadow.choose()?;
        Some(Again {
            chosen,
            request: request.clone(),
            credentials: Credentials::of(metadata.as_ref()),
        })
    }

    /// Has a search run again, after its client has been sent these rows.
    pub(super) fn run_again(
        &self,
        again: Again,
        scope: &Arc<TableScope>,
        rows: &Rows,
        served: &Served,
        took: Duration,
        extensions: &Extensions,
    ) {
        let Some(facts) = extensions.get::<RequestFacts>() else {
            return;
        };
        let rows = Rows {
            schema: Arc::clone(&rows.schema),
            batches: rows.batches.clone(),
        };
        let answer = Answer::Rows {
            // The rows are Arrow's, whatever the client gets.
            request: Box::new(pb::SearchRequest {
                row_format: pb::RowFormat::ArrowIpc.into(),
                ..again.request
            }),
            rows,
            served: served.clone(),
        };
        facts.after(again.chosen.after(Answered {
            answer,
            scope: Arc::clone(scope),
            credentials: again.credentials,
            took,
        }));
    }
}

//! Searches that a node answered, and that are run a second time where shadow reads
//! go. Their bytes are kept while they pass through, and looked into when the client
//! has them.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tonic::body::Body;

use super::{Gateway, forward::Call};
use crate::{
    config::AccessRole,
    service::{
        allowed::allowed,
        shadow::{Answer, Answered, Credentials},
        stack::RequestFacts,
    },
};

/// What is kept of an answer, which carries it to where it is known to be the one
/// that the client gets.
#[derive(Clone)]
pub(super) struct Kept {
    /// All of it, before it said who answered; `None` where it is longer than what is
    /// held of any answer.
    pub answer: Option<Vec<Bytes>>,
    pub took: Duration,
}

impl Gateway {
    /// Has a search run again after its client has been sent this answer, if that is
    /// its turn.
    pub(super) fn run_again(&self, call: &Call, answer: &mut Response<Body>) {
        let Some(kept) = answer.extensions_mut().remove::<Kept>() else {
            return;
        };
        let chosen = self.shadow.as_ref().and_then(|shadow| shadow.choose());
        let facts = call.parts.extensions.get::<RequestFacts>();
        let (Some(chosen), Some(facts)) = (chosen, facts) else {
            return;
        };
        let Some(frames) = kept.answer else {
            return chosen.skip("the answer is longer than what is kept");
        };
        // A node answered, so it is there for the client; which part of it, this
        // process knows for its own connections.
        let Ok(scope) = allowed(&call.parts.extensions, &call.peek.table, AccessRole::Reader)
        else {
            return chosen.skip("the table is not there for the client");
        };
        facts.after(chosen.after(Answered {
            answer: Answer::Frames {
                request: call.body.clone(),
                answer: frames,
            },
            scope,
            credentials: Credentials::of(&call.parts.headers),
            took: kept.took,
        }));
    }
}

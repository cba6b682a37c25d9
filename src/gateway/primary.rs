//! What only the primary may do, where that is another node.

use std::{sync::Arc, time::Duration};

use http::Response;
use tokio::time::{Instant, sleep};
use tonic::{Code, body::Body};

use super::{
    Gateway,
    forward::{Call, Failure, Way},
};
use crate::{
    domain::{
        Error,
        view::{Detour, Policy},
    },
    node::Node,
    service::stack::Deadline,
    telemetry::metrics,
    wire::status::status,
};

/// How often one call is made at most.
const ATTEMPTS: u32 = 3;

/// Before the second attempt; twice that before the third.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the primary. A call that changes something is made once, unless it has a
/// request id by which the primary knows a repeat; and a repeat follows only where
/// the primary said that it did nothing, or said nothing.
pub(super) async fn ask(gateway: &Gateway, node: &Arc<Node>, call: &Call) -> Response<Body> {
    let may_repeat = call.peek.has_id || !call.method.changes;
    let (mut retry, mut in_doubt) = (0, false);
    loop {
        let detour = Detour {
            retry,
            ..Detour::default()
        };
        metrics::routed(node.group(), Policy::PrimaryOnly.as_str());
        let failure = match call.ask(&way(node, detour), Box::new(|_| ())).await {
            Ok(answer) => return answer,
            Err(failure) => failure,
        };
        retry += 1;
        // A repeat that was not taken says nothing of the call before it.
        in_doubt |= failure.in_doubt;
        let pause = failure.pushback.unwrap_or(PAUSE * retry);
        let in_time = |at: Instant| {
            let deadline = call.parts.extensions.get::<Deadline>();
            deadline.is_none_or(|deadline| at < deadline.0)
        };
        let now = Instant::now();
        let another = may_repeat
            && failure.code == Code::Unavailable
            && retry < ATTEMPTS
            && now.checked_add(pause).is_some_and(in_time)
            && gateway.nodes.pool().budgets().retries.withdraw(now);
        if !another {
            return told(call, *failure, in_doubt);
        }
        sleep(pause).await;
    }
}

/// Sends the stream of a request on as it comes: the primary sets the pace.
pub(super) async fn stream(node: &Arc<Node>, call: &Call, body: Body) -> Response<Body> {
    metrics::routed(node.group(), Policy::PrimaryOnly.as_str());
    let way = way(node, Detour::default());
    match call.ask_with(&way, body, Box::new(|_| ())).await {
        Ok(answer) => answer,
        Err(failure) => {
            let in_doubt = failure.in_doubt;
            told(call, *failure, in_doubt)
        }
    }
}

fn way(node: &Arc<Node>, detour: Detour) -> Way<'_> {
    Way {
        node,
        policy: Policy::PrimaryOnly,
        detour,
    }
}

/// What the client is told of a failure. Of a change that may have been made
/// nobody may think that it was not.
fn told(call: &Call, failure: Failure, in_doubt: bool) -> Response<Body> {
    if in_doubt && call.method.changes && failure.code == Code::Unavailable {
        return status(&Error::OutcomeUnknown).into_http();
    }
    failure.response
}

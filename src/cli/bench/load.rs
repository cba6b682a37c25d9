//! A load generator for Search: a closed loop, in which each of `concurrency`
//! callers sends its next request when the answer to its last one is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::tally::Tally;
pub use super::tally::{Latency, LoadResult};
use crate::{
    cli::{
        client::{self, Link},
        error::CliError,
        security::Security,
    },
    proto::v1::{SearchRequest, search_service_client::SearchServiceClient},
};

/// What to send, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// host:port of the server.
    pub address: String,
    /// TLS to it, and what is shown to it.
    pub security: Security,
    /// HTTP/2 connections, which the callers share evenly. At least 1.
    pub connections: usize,
    /// Callers at once. At least 1.
    pub concurrency: usize,
    /// For how long answers are not counted.
    pub warmup: Duration,
    /// When it is enough.
    pub until: Until,
    /// Sent in turn, over and over. Not empty.
    pub requests: Vec<SearchRequest>,
}

/// When a load ends, not counting the warm-up.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// Runs a load to its end.
///
/// # Errors
/// No connection, or the very first request was refused; later failures are
/// counted in the result.
pub async fn run(load: &Load) -> Result<LoadResult, CliError> {
    let Some(first) = load.requests.first() else {
        return Err(CliError::Usage("there is no query to send".into()));
    };
    let mut channels = Vec::new();
    for _ in 0..load.connections.max(1) {
        channels.push(client::connect(&load.address, &load.security).await?);
    }
    let mut probe = client::search(channels[0].clone());
    probe.search(first.clone()).await?;

    let begin = Instant::now() + load.warmup;
    let plan = Arc::new(Plan {
        requests: load.requests.clone(),
        begin,
        until: load.until,
        sent: AtomicU64::new(0),
        counted: AtomicU64::new(0),
    });
    let mut callers = JoinSet::new();
    for i in 0..load.concurrency.max(1) {
        let channel = channels[i % channels.len()].clone();
        callers.spawn(call_until_done(plan.clone(), channel));
    }
    let mut total = Tally::new()?;
    while let Some(tally) = callers.join_next().await {
        let tally = tally.map_err(|error| CliError::Data(format!("a caller died: {error}")))?;
        total.add(tally?)?;
    }
    Ok(total.result(begin))
}

/// What all callers share.
struct Plan {
    requests: Vec<SearchRequest>,
    /// The end of the warm-up.
    begin: Instant,
    until: Until,
    /// Requests sent, those of the warm-up included.
    sent: AtomicU64,
    /// Requests begun after the warm-up.
    counted: AtomicU64,
}

impl Plan {
    /// The next request.
    fn next(&self) -> &SearchRequest {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        &self.requests[(turn % self.requests.len() as u64) as usize]
    }

    /// Whether a request may begin now; takes one of a bounded number.
    fn goes_on(&self, now: Instant) -> bool {
        if now < self.begin {
            return true;
        }
        match self.until {
            Until::Elapsed(duration) => now < self.begin + duration,
            Until::Requests(most) => self.counted.fetch_add(1, Ordering::Relaxed) < most,
        }
    }
}

async fn call_until_done(plan: Arc<Plan>, channel: Link) -> Result<Tally, CliError> {
    let mut client: SearchServiceClient<Link> = client::search(channel);
    let mut tally = Tally::new()?;
    loop {
        let started = Instant::now();
        if !plan.goes_on(started) {
            return Ok(tally);
        }
        let request = plan.next();
        let queries = request
            .query
            .as_ref()
            .map_or(1, |query| query.vectors.len().max(1));
        let answer = client.search(request.clone()).await;
        if started >= plan.begin {
            tally.count(queries as u64, answer, started);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_requests_is_exact_and_the_warmup_is_free() {
        let begin = Instant::now();
        let plan = Plan {
            requests: vec![SearchRequest::default()],
            begin,
            until: Until::Requests(3),
            sent: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        };
        let before = begin.checked_sub(Duration::from_millis(1)).unwrap();
        assert!((0..10).all(|_| plan.goes_on(before)));
        assert_eq!((0..10).filter(|_| plan.goes_on(begin)).count(), 3);
    }
}

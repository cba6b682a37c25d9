//! Searches at a fixed pace, whether or not earlier ones were answered: as many
//! independent users ask.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lancegate::proto::v1::{SearchRequest, search_service_client::SearchServiceClient};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::Result;

/// Hosts that the searches come from, each with a connection of its own: the whole
/// of 127.0.0.0/8 is this machine.
const HOSTS: u8 = 8;

/// Most searches without an answer. One more is not sent, and counted as such.
const MOST_OPEN: usize = 20_000;

/// How often searches are sent that are due.
const TICK: Duration = Duration::from_millis(5);

/// What is sent, and where.
pub struct Sent {
    pub address: SocketAddr,
    pub requests: Vec<SearchRequest>,
    pub deadline: Duration,
}

/// A pace.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// Searches a second.
    pub rate: f64,
    pub length: Duration,
}

/// What became of one search.
struct Answer {
    /// When it was sent, from the beginning of the phase.
    sent: Duration,
    took: Duration,
    /// `None` if it was answered.
    failed: Option<String>,
}

/// What became of them all.
#[derive(Default)]
pub struct Answers {
    /// Those that were sent in each second of the phase, and of them answered.
    pub seconds: Vec<(usize, usize)>,
    /// Times of those that were answered, in ascending order.
    pub took: Vec<Duration>,
    /// Times of those that were refused, in ascending order.
    pub refused_after: Vec<Duration>,
    /// By code, and the cause where there is one.
    pub failed: BTreeMap<String, usize>,
    /// Were due and not sent: too many were open.
    pub unsent: usize,
}

impl Sent {
    pub async fn run(&self, phase: Phase) -> Result<Answers> {
        let mut clients = Vec::new();
        for host in 1..=HOSTS {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
            let local = IpAddr::from([127, 0, 1, host]);
            let channel = endpoint.local_address(Some(local)).connect().await?;
            clients.push(SearchServiceClient::new(channel));
        }
        let began = Instant::now();
        let mut answers = Answers::default();
        let mut open = JoinSet::new();
        let (mut sent, mut tick) = (0usize, began);
        while tick < began + phase.length {
            let due = (tick.duration_since(began).as_secs_f64() * phase.rate) as usize;
            while sent < due {
                let client = clients[sent % clients.len()].clone();
                let request = self.requests[sent % self.requests.len()].clone();
                sent += 1;
                if open.len() >= MOST_OPEN {
                    answers.unsent += 1;
                    answers.sent(began.elapsed(), false);
                    continue;
                }
                open.spawn(ask(client, request, self.deadline, began));
            }
            while let Some(answer) = open.try_join_next() {
                answers.add(answer?);
            }
            tick += TICK;
            sleep_until(tick).await;
        }
        while let Some(answer) = open.join_next().await {
            answers.add(answer?);
        }
        answers.took.sort_unstable();
        answers.refused_after.sort_unstable();
        Ok(answers)
    }
}

async fn ask(
    mut client: SearchServiceClient<Channel>,
    request: SearchRequest,
    deadline: Duration,
    began: Instant,
) -> Answer {
    let sent = Instant::now();
    let mut request = Request::new(request);
    request.set_timeout(deadline);
    let outcome = client.search(request).await;
    Answer {
        sent: sent.duration_since(began),
        took: sent.elapsed(),
        failed: outcome.err().map(|status| {
            use tonic_types::StatusExt;
            let info = status.get_details_error_info();
            let cause = info.and_then(|mut info| info.metadata.remove("cause"));
            match cause {
                Some(cause) => format!("{:?} ({cause})", status.code()),
                None => format!("{:?}", status.code()),
            }
        }),
    }
}

impl Answers {
    fn add(&mut self, answer: Answer) {
        self.sent(answer.sent, answer.failed.is_none());
        match answer.failed {
            None => self.took.push(answer.took),
            Some(code) => {
                *self.failed.entry(code).or_default() += 1;
                self.refused_after.push(answer.took);
            }
        }
    }

    fn sent(&mut self, at: Duration, answered: bool) {
        let second = at.as_secs() as usize;
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }
        self.seconds[second].0 += 1;
        self.seconds[second].1 += usize::from(answered);
    }

    /// Searches that were sent in this part of the phase, and of them answered.
    pub fn between(&self, from: Duration, to: Duration) -> (usize, usize) {
        let (from, to) = (from.as_secs() as usize, to.as_secs().max(1) as usize);
        let part = self.seconds.iter().take(to).skip(from);
        part.fold((0, 0), |(sent, ok), second| {
            (sent + second.0, ok + second.1)
        })
    }
}

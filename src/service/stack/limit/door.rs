//! The gate with a clock and with those who wait.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{super::AnswerHold, permit::Permit};
use crate::{
    admission::{AnswerBudget, Arrival, Ask, Facts, Gate, Kind, Left, Place, Refusal, Told, Why},
    config::Admission,
    telemetry::metrics,
};

/// One who waits, and how it is told.
struct Caller {
    kind: Kind,
    tell: oneshot::Sender<Result<Permit, Refusal>>,
}

/// Where every request of the server but health checks comes in.
pub struct Door {
    gate: Mutex<Gate<Caller>>,
    budget: AnswerBudget,
}

impl Door {
    /// A door for `max` requests at once.
    pub fn new(settings: &Admission, max: usize) -> Arc<Self> {
        let gate = Gate::new(*settings, max, rand::random(), Instant::now());
        note(gate.facts());
        Arc::new(Self {
            gate: Mutex::new(gate),
            budget: AnswerBudget::new(settings.max_answer_bytes),
        })
    }

    /// What is going on.
    pub fn facts(&self) -> Facts {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.facts()
    }

    /// Bytes of memory that answers have taken.
    pub fn answer_bytes(&self) -> usize {
        self.budget.held()
    }

    /// Other settings, from now on; the memory of answers stays as it was.
    pub fn set(self: &Arc<Self>, settings: &Admission, max: usize) {
        self.at_gate(|gate, now, told| gate.set(*settings, max, now, told));
    }

    /// The memory of one answer.
    pub(super) fn hold(&self) -> AnswerHold {
        AnswerHold::new(&self.budget)
    }

    /// Waits until a request may begin. To drop this gives the place up.
    pub(super) async fn enter(self: &Arc<Self>, ask: Ask) -> Result<Permit, Refusal> {
        let kind = ask.lane.kind();
        let mut receiver = None;
        let caller = || {
            let (tell, told) = oneshot::channel();
            receiver = Some(told);
            Caller { kind, tell }
        };
        let arrival = self.at_gate(|gate, now, told| gate.arrive(ask, caller, now, told));
        match (arrival, receiver) {
            (Arrival::Refused(refusal), _) => Err(refusal),
            (Arrival::Wait(place, until), Some(told)) => {
                let waiting = Waiting {
                    door: self,
                    place,
                    told,
                };
                let began = Instant::now();
                let outcome = waiting.until(until).await;
                metrics::queue_waited(began.elapsed());
                outcome
            }
            // A caller is made whenever it has to wait.
            (Arrival::Go | Arrival::Wait(..), _) => Ok(Permit::new(self, kind)),
        }
    }

    /// A request that had begun is over.
    pub(super) fn leave(self: &Arc<Self>, left: Left) {
        let step = self.at_gate(|gate, now, told| gate.leave(left, now, told));
        if let Some(step) = step {
            tracing::debug!(%step, "the limit on concurrent reads");
        }
    }

    /// Does something at the gate, and passes on what it told those who wait.
    fn at_gate<T>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Gate<Caller>, Instant, &mut Told<Caller>) -> T,
    ) -> T {
        let mut told = Told::new();
        let outcome = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = act(&mut gate, Instant::now(), &mut told);
            // In here, so that the last to be noted is the last to be true.
            note(gate.facts());
            outcome
        };
        // Out here: what nobody takes is dropped, which comes here again.
        for (caller, word) in told {
            let word = word.map(|()| Permit::new(self, caller.kind));
            let _ = caller.tell.send(word);
        }
        outcome
    }
}

fn note(facts: Facts) {
    metrics::requests_in_flight(facts.in_flight);
    metrics::requests_queued(facts.waiting);
    metrics::concurrency_limit(facts.limit);
}

/// A place in the queue, given up when this is dropped.
struct Waiting<'a> {
    door: &'a Arc<Door>,
    place: Place,
    told: oneshot::Receiver<Result<Permit, Refusal>>,
}

impl Waiting<'_> {
    async fn until(mut self, until: Instant) -> Result<Permit, Refusal> {
        tokio::select! {
            biased;
            Ok(word) = &mut self.told => return word,
            () = sleep_until(until) => {}
        }
        let place = self.place;
        let late = self.door.at_gate(|gate, now, _| gate.time_out(place, now));
        match late {
            Some(refusal) => Err(refusal),
            // It has been told meanwhile: the word is on its way.
            None => match (&mut self.told).await {
                Ok(word) => word,
                // Unreachable: whoever tells keeps its word. Refusing is safe.
                Err(_) => Err(Refusal {
                    why: Why::Waited,
                    retry_after: AnswerHold::RETRY,
                }),
            },
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let place = self.place;
        // Where it was told already, `told` drops the permit.
        self.door.at_gate(|gate, _, _| gate.give_up(place));
    }
}

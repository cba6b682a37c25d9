//! A request that has begun.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;
use tonic::Code;

use super::{
    super::{AnswerHold, RequestFacts},
    Wanted,
    door::Door,
};
use crate::admission::{Kind, Left, Signal};

/// Signals of reads that may have had to wait for a version: they are compared
/// with one another only.
const WITH_BOUNDS: u8 = 4;

/// A place at the gate, given back when nobody has it any more: neither the answer nor
/// work that goes on without it.
pub(super) struct Place {
    door: Arc<Door>,
    kind: Kind,
    /// Known when the answer has ended.
    left: OnceLock<Left>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let unknown = Left {
            kind: self.kind,
            took: None,
            signal: None,
        };
        self.door.leave(self.left.take().unwrap_or(unknown));
    }
}

/// The right to work on a request, which ends when its answer is there; that of a stream when
/// it is over.
pub(super) struct Permit {
    /// `None` when it is given back.
    place: Option<Arc<Place>>,
    kind: Kind,
    began: Instant,
    /// Until its answer was there.
    took: Option<Duration>,
    deadline: Option<Instant>,
    /// How it ended; `None` where it was dropped.
    code: Option<Code>,
    signal: Option<u8>,
    facts: RequestFacts,
    hold: Option<AnswerHold>,
}

impl Permit {
    pub(super) fn new(door: &Arc<Door>, kind: Kind) -> Self {
        let place = Place {
            door: Arc::clone(door),
            kind,
            left: OnceLock::new(),
        };
        Self {
            place: Some(Arc::new(place)),
            kind,
            began: Instant::now(),
            took: None,
            deadline: None,
            code: None,
            signal: None,
            facts: RequestFacts::default(),
            hold: None,
        }
    }

    /// With what its answer holds, and what tells whether its time is a signal.
    pub(super) fn with(mut self, hold: AnswerHold, wanted: Wanted) -> Self {
        self.hold = Some(hold);
        self.deadline = wanted.ask.deadline;
        (self.signal, self.facts) = (wanted.signal, wanted.facts);
        self
    }

    /// Its place, for work that may go on when the answer has ended.
    pub(super) fn place(&self) -> Option<Arc<Place>> {
        self.place.clone()
    }

    /// The answer is there, with this code if it has one already. How long the client
    /// takes to read it is its own affair, and what `is_whole` is no work any more.
    pub(super) fn answered(&mut self, code: Option<Code>, is_whole: bool) {
        (self.took, self.code) = (Some(self.began.elapsed()), code);
        if is_whole {
            self.give_back();
        }
    }

    /// The answer has been sent, or the client has gone away.
    pub(super) fn end(mut self, code: Code) {
        self.code = Some(code);
    }

    /// Whether the time that it took says something. A refusal is quick whatever
    /// the load is, and so is giving up; that the deadline came first does say
    /// something.
    fn counts(&self) -> bool {
        let late = || self.deadline.is_some_and(|d| d <= Instant::now());
        match self.code {
            Some(Code::Ok | Code::DeadlineExceeded) => true,
            Some(Code::Cancelled) | None => self.took.is_some() || late(),
            Some(_) => false,
        }
    }

    /// Gives its place back, once.
    fn give_back(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let shift = match self.facts.has_bounds() {
            true => WITH_BOUNDS,
            false => 0,
        };
        let left = Left {
            kind: self.kind,
            took: self
                .counts()
                .then(|| self.took.unwrap_or_else(|| self.began.elapsed())),
            signal: self.signal.and_then(|number| Signal::new(number + shift)),
        };
        // It is set nowhere else.
        let _ = place.left.set(left);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(hold) = &self.hold {
            hold.release();
        }
        self.give_back();
        let after = self.facts.take_after();
        if let (Some(Code::Ok), Some(act)) = (self.code, after) {
            act();
        }
    }
}

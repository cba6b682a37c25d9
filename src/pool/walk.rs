//! The walk from one member to another until an attempt is answered.
//!
//! An attempt is followed by another one only where its failure allows it, within
//! the deadline, as long as the budget of the process has something left, and at most
//! so many times. Nobody is asked twice while another one is left: that is for the
//! [`Course`] to see to, which also knows what else a place has to fulfil.

use std::{
    future::pending,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Attempt, Course, Outcome, Pool,
    clock::{now, sleep_until},
};
use crate::{domain::view::Detour, telemetry::metrics};

/// How a walk ended: where, and how many attempts came before.
#[derive(Debug)]
pub struct Walked<C: Course> {
    pub place: C::Place,
    pub outcome: Result<C::Answer, C::Error>,
    pub detour: Detour,
    /// Attempts that were made, hedges included.
    pub attempts: u32,
}

/// Walks. `deadline` ends it before another attempt, not during one: whoever waits
/// for the answer drops the walk.
pub async fn walk<C: Course>(
    pool: &Pool,
    course: &C,
    first: C::Place,
    deadline: Option<Instant>,
) -> Walked<C> {
    pool.budgets().deposit();
    let mut walk = Walk {
        pool,
        course,
        deadline,
        left: pool.settings().retries.max_attempts.saturating_sub(1),
        retries: 0,
        hedges: 0,
        before: Vec::new(),
    };
    let mut place = first;
    loop {
        match walk.step(place).await {
            Step::Done(walked) => return walked,
            Step::On(next) => place = next,
        }
    }
}

/// A walk under way.
struct Walk<'a, C: Course> {
    pool: &'a Pool,
    course: &'a C,
    deadline: Option<Instant>,
    /// Attempts that may follow.
    left: u32,
    retries: u32,
    hedges: u32,
    /// Where it was before.
    before: Vec<C::Place>,
}

enum Step<C: Course> {
    Done(Walked<C>),
    On(C::Place),
}

/// How an attempt ended, or two of which the second is a hedge.
enum End<C: Course> {
    First(Result<C::Answer, C::Error>),
    /// The member left the rotation meanwhile, and there is another one.
    Left(C::Place),
    /// The hedge decided; the first one was cancelled or had failed.
    Hedge(C::Place, Result<C::Answer, C::Error>),
}

impl<C: Course> Walk<'_, C> {
    async fn step(&mut self, place: C::Place) -> Step<C> {
        metrics::attempt(match self.retries {
            0 => "first",
            _ => "retry",
        });
        let end = self.attempt(&place).await;
        let (place, outcome, hedge) = match end {
            End::First(outcome) => (place, outcome, false),
            End::Hedge(hedge, outcome) => {
                self.before.push(place);
                (hedge, outcome, true)
            }
            End::Left(next) => {
                self.before.push(place);
                self.retries += 1;
                return Step::On(next);
            }
        };
        let detour = self.detour(hedge);
        let error = match outcome {
            Ok(answer) => {
                if self.retries > 0 {
                    metrics::retried("answered");
                }
                return self.done(place, Ok(answer), detour);
            }
            Err(error) => error,
        };
        let verdict = self.course.verdict(&error);
        if !verdict.retry {
            return self.done(place, Err(error), detour);
        }
        match self.next(&place, verdict.pushback).await {
            Some(next) => {
                self.before.push(place);
                self.retries += 1;
                Step::On(next)
            }
            None => self.done(place, Err(error), detour),
        }
    }

    fn done(
        &self,
        place: C::Place,
        outcome: Result<C::Answer, C::Error>,
        detour: Detour,
    ) -> Step<C> {
        Step::Done(Walked {
            place,
            outcome,
            detour,
            attempts: 1 + self.retries + self.hedges,
        })
    }

    fn detour(&self, hedge: bool) -> Detour {
        Detour {
            retry: self.retries,
            hedge,
            ..Detour::default()
        }
    }

    /// Runs one attempt, and a hedge beside it where that is due.
    async fn attempt(&mut self, place: &C::Place) -> End<C> {
        let (course, pool) = (self.course, self.pool);
        let member = course.member(place);
        let mut running = member.map(|m| m.start(now()));
        let mut run = pin!(course.run(place, self.detour(false)));
        let mut left = pin!(async {
            match member {
                Some(member) => member.left().await,
                None => pending().await,
            }
        });
        let hedging = pool.settings().hedging;
        let mut slow = pin!(async {
            match hedging.enabled {
                true => sleep_until(now() + hedging.delay).await,
                false => pending().await,
            }
        });
        let (mut may_leave, mut may_hedge) = (true, true);
        loop {
            tokio::select! {
                biased;
                outcome = &mut run => {
                    self.finish(running.take(), &outcome);
                    return End::First(outcome);
                }
                () = &mut left, if may_leave => {
                    may_leave = false;
                    let next = tokio::select! {
                        biased;
                        outcome = &mut run => {
                            self.finish(running.take(), &outcome);
                            return End::First(outcome);
                        }
                        next = self.elsewhere(place) => next,
                    };
                    // Where nobody else may be asked, it may still answer.
                    if let Some(next) = next {
                        if let Some(running) = running.take() {
                            pool.finish(running, Outcome::Fault, now());
                        }
                        return End::Left(next);
                    }
                }
                () = &mut slow, if may_hedge => {
                    may_hedge = false;
                    let Some(second) = self.second(place) else { continue };
                    return self.race(run.as_mut(), running.take(), second).await;
                }
            }
        }
    }

    /// Runs the first attempt on beside a hedge. Who answers first wins, and the
    /// other one is dropped; a failure that another one may undo waits for that.
    async fn race(
        &mut self,
        mut first: Pin<&mut impl Future<Output = Result<C::Answer, C::Error>>>,
        mut first_running: Option<Attempt>,
        second: C::Place,
    ) -> End<C> {
        metrics::attempt("hedge");
        self.hedges += 1;
        self.left = self.left.saturating_sub(1);
        let course = self.course;
        let mut second_running = course.member(&second).map(|m| m.start(now()));
        let (mut first_failed, mut second_failed) = (false, false);
        let (is_first, outcome) = {
            let mut run = pin!(course.run(&second, self.detour(true)));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut first, if !first_failed => {
                        self.finish(first_running.take(), &outcome);
                        if self.decides(&outcome) || second_failed {
                            break (true, outcome);
                        }
                        first_failed = true;
                    }
                    outcome = &mut run, if !second_failed => {
                        self.finish(second_running.take(), &outcome);
                        if self.decides(&outcome) || first_failed {
                            break (false, outcome);
                        }
                        second_failed = true;
                    }
                }
            }
        };
        metrics::hedged(match !is_first && outcome.is_ok() {
            true => "won",
            false => "lost",
        });
        if is_first {
            // It was tried as well.
            self.before.push(second);
            return End::First(outcome);
        }
        End::Hedge(second, outcome)
    }

    fn decides(&self, outcome: &Result<C::Answer, C::Error>) -> bool {
        match outcome {
            Ok(_) => true,
            Err(error) => !self.course.verdict(error).retry,
        }
    }

    fn finish(&self, running: Option<Attempt>, outcome: &Result<C::Answer, C::Error>) {
        let Some(running) = running else { return };
        let outcome = match outcome {
            Ok(_) => Outcome::Ok,
            Err(error) => self.course.verdict(error).outcome,
        };
        self.pool.finish(running, outcome, now());
    }

    /// Where the hedge of an attempt goes, if there may be one.
    fn second(&mut self, place: &C::Place) -> Option<C::Place> {
        if self.left == 0 {
            return None;
        }
        let second = self.course.hedge(&self.before, place)?;
        if self.pool.budgets().hedges.withdraw(now()) {
            return Some(second);
        }
        metrics::hedged("no_budget");
        None
    }

    /// Where the next attempt goes, if there may be one.
    async fn next(&mut self, last: &C::Place, pushback: Duration) -> Option<C::Place> {
        let asked = now();
        if self.left == 0 || !self.in_time(asked) {
            metrics::retried("given_up");
            return None;
        }
        if let Some(next) = self.course.retry(&self.before, last).await {
            return self.pay(next, last);
        }
        let again = asked + pushback;
        let Some(next) = self
            .course
            .again(&self.before, last)
            .filter(|_| self.in_time(again))
        else {
            metrics::retried("nobody_left");
            return None;
        };
        let next = self.pay(next, last)?;
        sleep_until(again).await;
        Some(next)
    }

    /// Where an attempt goes on whose member left the rotation.
    async fn elsewhere(&mut self, last: &C::Place) -> Option<C::Place> {
        if self.left == 0 || !self.in_time(now()) {
            return None;
        }
        let next = self.course.retry(&self.before, last).await?;
        self.pay(next, last)
    }

    fn in_time(&self, at: Instant) -> bool {
        self.deadline.is_none_or(|deadline| at < deadline)
    }

    /// Takes the place, if the budget has something left; else one that needs none.
    fn pay(&mut self, next: C::Place, last: &C::Place) -> Option<C::Place> {
        let taken = match self.pool.budgets().retries.withdraw(now()) {
            true => Some(next),
            false => {
                // What it held of its own bound goes back first.
                drop(next);
                self.course.last_resort(&self.before, last)
            }
        };
        match &taken {
            Some(_) => self.left -= 1,
            None => metrics::retried("no_budget"),
        }
        taken
    }
}

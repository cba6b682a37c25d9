//! Answers, counted: latencies, errors by code, answers by connection.

use std::{collections::BTreeMap, time::Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tonic::Code;

use crate::{
    cli::error::{CliError, code_name},
    proto::v1::SearchResponse,
};

/// The connection that answered, as response metadata.
const CONNECTION_HEADER: &str = "x-lancegate-connection";

/// The range of latencies, in microseconds: what is slower counts as ten minutes.
const SLOWEST_MICROS: u64 = 600_000_000;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// What came of a load. Only requests begun after the warm-up count.
#[derive(Debug, Clone, Serialize)]
pub struct LoadResult {
    /// From the end of the warm-up to the last answer.
    pub seconds: f64,
    /// Requests that were answered.
    pub requests: u64,
    /// Query vectors (or texts) in them.
    pub queries: u64,
    /// Rows that they answered.
    pub rows: u64,
    pub requests_per_second: f64,
    pub queries_per_second: f64,
    /// Of answered requests.
    pub latency: Latency,
    /// Failed requests by gRPC code.
    pub errors: BTreeMap<String, u64>,
    /// Answered requests by the connection that answered.
    pub connections: BTreeMap<String, u64>,
}

/// Milliseconds; all zero if there was no answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// What one caller has seen.
pub(super) struct Tally {
    latency: Histogram<u64>,
    requests: u64,
    queries: u64,
    rows: u64,
    last_answer: Option<Instant>,
    errors: BTreeMap<&'static str, u64>,
    connections: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, CliError> {
        let latency = Histogram::new_with_bounds(1, SLOWEST_MICROS, DIGITS);
        Ok(Tally {
            latency: latency.map_err(|error| CliError::Data(error.to_string()))?,
            requests: 0,
            queries: 0,
            rows: 0,
            last_answer: None,
            errors: BTreeMap::new(),
            connections: BTreeMap::new(),
        })
    }

    pub(super) fn count(
        &mut self,
        queries: u64,
        answer: Result<tonic::Response<SearchResponse>, tonic::Status>,
        started: Instant,
    ) {
        let now = Instant::now();
        self.last_answer = Some(now);
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => return self.count_error(status.code()),
        };
        let micros = (now - started).as_micros();
        self.latency
            .saturating_record(u64::try_from(micros).unwrap_or(SLOWEST_MICROS));
        self.requests += 1;
        self.queries += queries;
        self.rows += u64::from(answer.get_ref().num_rows);
        let name = answer
            .metadata()
            .get(CONNECTION_HEADER)
            .and_then(|name| name.to_str().ok());
        let name = name.unwrap_or("unknown");
        match self.connections.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.connections.insert(name.to_string(), 1);
            }
        }
    }

    fn count_error(&mut self, code: Code) {
        *self.errors.entry(code_name(code)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Tally) -> Result<(), CliError> {
        let added = self.latency.add(&other.latency);
        added.map_err(|error| CliError::Data(error.to_string()))?;
        self.requests += other.requests;
        self.queries += other.queries;
        self.rows += other.rows;
        self.last_answer = self.last_answer.max(other.last_answer);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        for (name, count) in other.connections {
            *self.connections.entry(name).or_default() += count;
        }
        Ok(())
    }

    pub(super) fn result(self, begin: Instant) -> LoadResult {
        let elapsed = self
            .last_answer
            .map(|last| last.saturating_duration_since(begin));
        let seconds = elapsed.unwrap_or_default().as_secs_f64();
        let per_second = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        LoadResult {
            seconds,
            requests: self.requests,
            queries: self.queries,
            rows: self.rows,
            requests_per_second: per_second(self.requests),
            queries_per_second: per_second(self.queries),
            latency: Latency {
                mean_ms: self.latency.mean() / 1e3,
                p50_ms: at(0.5),
                p90_ms: at(0.9),
                p99_ms: at(0.99),
                p999_ms: at(0.999),
                max_ms: self.latency.max() as f64 / 1e3,
            },
            errors: self
                .errors
                .into_iter()
                .map(|(code, n)| (code.to_string(), n))
                .collect(),
            connections: self.connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        connection: &str,
        rows: u32,
    ) -> Result<tonic::Response<SearchResponse>, tonic::Status> {
        let mut answer = tonic::Response::new(SearchResponse {
            num_rows: rows,
            ..Default::default()
        });
        answer
            .metadata_mut()
            .insert(CONNECTION_HEADER, connection.parse().unwrap());
        Ok(answer)
    }

    #[test]
    fn callers_add_up() {
        let begin = Instant::now();
        let mut total = Tally::new().unwrap();
        for connection in ["a", "b"] {
            let mut tally = Tally::new().unwrap();
            tally.count(2, answer(connection, 20), begin);
            tally.count(2, answer("a", 20), begin);
            tally.count(2, Err(tonic::Status::unavailable("")), begin);
            total.add(tally).unwrap();
        }
        let result = total.result(begin);
        assert_eq!((result.requests, result.queries, result.rows), (4, 8, 80));
        assert_eq!(
            result.errors,
            BTreeMap::from([("UNAVAILABLE".to_string(), 2)])
        );
        assert_eq!(
            result.connections,
            BTreeMap::from([("a".to_string(), 3), ("b".to_string(), 1)])
        );
        assert!(result.seconds > 0.0 && result.requests_per_second > 0.0);
    }

    #[test]
    fn percentiles_are_those_of_the_answers() {
        let mut tally = Tally::new().unwrap();
        for micros in 1..=1000 {
            tally.latency.record(micros * 1000).unwrap();
        }
        let latency = tally.result(Instant::now()).latency;
        for (got, expected) in [
            (latency.p50_ms, 500.0),
            (latency.p90_ms, 900.0),
            (latency.p99_ms, 990.0),
            (latency.p999_ms, 999.0),
            (latency.max_ms, 1000.0),
            (latency.mean_ms, 500.5),
        ] {
            assert!(
                (got - expected).abs() / expected < 0.002,
                "{got} {expected}"
            );
        }
    }
}

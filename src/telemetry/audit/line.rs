//! One line of the audit log.

use std::{net::SocketAddr, time::SystemTime};

use serde::{Serialize, Serializer};

use crate::domain::{Principal, Proof};

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is about to begin.
    Attempt,
    /// It is over.
    Outcome,
}

/// Rows that a write touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rows {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// A line. What is not known is left out; nothing in here is a row's value, a vector
/// or a literal of a filter.
#[derive(Debug, Clone, Serialize)]
pub struct Line<'a> {
    #[serde(serialize_with = "rfc_3339")]
    pub time: SystemTime,
    pub event: Event,
    /// Who, and how that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'a str>,
    #[serde(serialize_with = "proof", skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The method, such as `lancegate.v1.WriteService/Insert`.
    pub action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'a str>,
    /// The connection that an order is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<&'a str>,
    /// Who did it: a connection, here or behind a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<&'a str>,
    /// How it ended: a gRPC code, and the reason of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// What the client was told, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_code: Option<&'a str>,
    /// The newest version that was known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_before: Option<u64>,
    /// The version that there was afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// That of the call: `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// That of the write: its `request_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_id: Option<&'a str>,
    /// Whether an earlier write with that id had done it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Refusals before this one that have no line of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

impl<'a> Line<'a> {
    /// A line of now that says only what was done.
    pub fn new(event: Event, action: &'a str) -> Self {
        Self {
            time: SystemTime::now(),
            event,
            principal: None,
            proof: None,
            peer: None,
            action,
            table: None,
            connection: None,
            served_by: None,
            code: None,
            reason: None,
            client_code: None,
            version_before: None,
            version_after: None,
            rows: None,
            request_id: None,
            write_id: None,
            repeated: false,
            left_out: 0,
        }
    }

    /// The same, of whom it is known who did it.
    pub fn by(self, principal: Option<&'a Principal>) -> Self {
        Self {
            principal: principal.map(|principal| &*principal.name),
            proof: principal.map(|principal| principal.proof),
            ..self
        }
    }

    /// As it is written, with its end.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Texts, numbers and lists of them: nothing that JSON has not.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn rfc_3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_micros(*time))
}

fn proof<S: Serializer>(proof: &Option<Proof>, to: S) -> Result<S::Ok, S::Error> {
    match proof {
        Some(proof) => to.collect_str(proof),
        None => to.serialize_none(),
    }
}

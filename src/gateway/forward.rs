//! One attempt: the request goes to a node, and its answer comes back as bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use tonic::{Code, Status, body::Body};

use super::{
    again::Kept,
    answer::{self, AtEnd, Begun, code_of},
    headers::set_timeout,
    message::{Peek, encode_field},
    methods::{Method, Sort},
    tag::Tag,
    verdict::{Verdict, reason_of, unreachable, verdict},
};
use crate::{
    domain::view::{Detour, Policy},
    node::{Answer, Node, SendError},
    proto::v1 as pb,
    service::stack::{AnswerHold, Deadline, RequestFacts},
    wire::{
        served::{CONNECTION, ROUTE, VERSION},
        status::status,
    },
};

/// Bytes of an answer that are waited for before the first of them is sent on: up
/// to here another node can still answer instead. What is longer streams.
const HELD: usize = 256 << 10;

/// When a server says that it is to be left alone, in milliseconds; below 0: for
/// good.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What every attempt of a request needs.
pub(super) struct Call {
    pub method: Method,
    /// As it came in.
    pub parts: Parts,
    /// As nodes get it, but for the time that is left.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub peek: Peek,
    /// Kept back of the time that is left.
    pub margin: Duration,
    /// Whether the bytes of its answer are kept, for a shadow read.
    pub keeps: bool,
}

/// An attempt that was no success.
pub(super) struct Failure {
    pub verdict: Verdict,
    /// That of its ErrorInfo.
    pub reason: Option<String>,
    /// What the client gets if nobody does better.
    pub response: Response<Body>,
    /// Whether the request may have been worked on, and nothing says how it ended.
    pub in_doubt: bool,
    /// Whether the node could not be reached, or was lost.
    pub is_gone: bool,
    pub code: Code,
    /// For how long the node wants to be left alone.
    pub pushback: Option<Duration>,
}

impl Failure {
    /// There was nobody to ask, or no answer that could be passed on.
    pub(super) fn of(status: Status, verdict: Verdict, in_doubt: bool) -> Self {
        Self {
            verdict,
            reason: None,
            code: status.code(),
            response: status.into_http(),
            in_doubt,
            is_gone: false,
            pushback: None,
        }
    }
}

/// How a request goes.
pub(super) struct Way<'a> {
    pub node: &'a Node,
    pub policy: Policy,
    pub detour: Detour,
}

impl Way<'_> {
    /// The decision in words, for example `nodes@10.0.0.8:50051 2/3`.
    fn choice(&self) -> String {
        let (name, detour) = (self.node.name(), self.detour);
        match self.policy {
            Policy::RoundRobin { position, of } => format!("{name} {position}/{of}{detour}"),
            Policy::Weighted { weight, of } => format!("{name} weight {weight}/{of}{detour}"),
            Policy::PrimaryOnly => format!("{name}{detour}"),
            policy => format!("{name} {}{detour}", policy.as_str()),
        }
    }

    /// Who answered, and why: what the node says of itself, behind what was decided
    /// here.
    fn served(&self, head: &HeaderMap) -> pb::Served {
        let said = |name| head.get(name).and_then(|v| v.to_str().ok());
        let node = self.node.name();
        let connection = match said(CONNECTION) {
            Some(inner) => format!("{node}/{inner}"),
            None => node.to_string(),
        };
        let route = match said(ROUTE) {
            Some(inner) => format!("node({}) > {inner}", self.choice()),
            None => format!("node({})", self.choice()),
        };
        pb::Served {
            connection,
            route,
            ..Default::default()
        }
    }
}

impl Call {
    /// The request, with the time that is left now.
    pub(super) fn request(&self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(deadline) = self.parts.extensions.get::<Deadline>() {
            set_timeout(request.headers_mut(), deadline.remaining(), self.margin);
        }
        request
    }

    /// The request as it came in, for the services of this process.
    pub(super) fn local(&self) -> Request<Body> {
        Request::from_parts(self.parts.clone(), Body::new(Full::new(self.body.clone())))
    }

    /// Asks a node. `at_end` is told the code that a successful answer ends with.
    pub(super) async fn ask(
        &self,
        way: &Way<'_>,
        at_end: AtEnd,
    ) -> Result<Response<Body>, Box<Failure>> {
        let body = Body::new(Full::new(self.body.clone()));
        self.ask_with(way, body, at_end).await
    }

    /// The same, with another body.
    pub(super) async fn ask_with(
        &self,
        way: &Way<'_>,
        body: Body,
        at_end: AtEnd,
    ) -> Result<Response<Body>, Box<Failure>> {
        let (name, began) = (way.node.name(), Instant::now());
        let lost = |error: SendError| {
            way.node.note_error(&error.to_string());
            let in_doubt = matches!(error, SendError::Lost(_));
            let told = unreachable(name, &error);
            let failure = Failure::of(told, Verdict::Elsewhere { blame: true }, in_doubt);
            Box::new(Failure {
                is_gone: true,
                ..failure
            })
        };
        let Answer { response, call } = way.node.send(self.request(body)).await.map_err(lost)?;
        let (head, mut rest) = response.into_parts();
        if head.status != StatusCode::OK {
            // Of something on the way that speaks no gRPC.
            let text = format!(
                "node '{name}' answered with HTTP status {}",
                head.status.as_u16()
            );
            return Err(Box::new(Failure::of(
                super::verdict::not_grpc(text),
                Verdict::Elsewhere { blame: true },
                true,
            )));
        }
        let mut head = answer::head(Response::from_parts(head, ()));
        if head.headers().contains_key(Status::GRPC_STATUS) {
            // Nothing but a status.
            let code = code_of(head.headers());
            if code == Code::Ok {
                at_end(code);
                return Ok(head.map(|()| Body::default()));
            }
            let headers = head.headers().clone();
            return Err(self.failed(code, &headers, head.map(|()| Body::default())));
        }
        let most = match self.method.sort {
            Sort::ReadStream => 1,
            _ => HELD,
        };
        let start = answer::start(&mut rest, most).await;
        let start = start.map_err(|error| lost(SendError::Lost(error)))?;
        if let Some(trailers) = &start.trailers {
            let code = code_of(trailers);
            if code != Code::Ok {
                let mut response = Response::new(Body::default());
                *response.headers_mut() = head.headers().clone();
                response.headers_mut().extend(trailers.clone());
                return Err(self.failed(code, trailers, response));
            }
        }
        // Of a longer answer the rest is not held: the client's pace is the node's.
        let held = start.data.iter().map(Bytes::len).sum();
        let hold = self.parts.extensions.get::<AnswerHold>();
        if let Some(Err(error)) = hold.map(|hold| hold.is(held)) {
            let status = status(&error);
            return Err(Box::new(Failure::of(status, Verdict::Final, false)));
        }
        let kept = self.keeps.then(|| Kept {
            answer: start.trailers.is_some().then(|| start.data.clone()),
            took: began.elapsed(),
        });
        let tag = self.tell(way, &mut head);
        let begun = Begun {
            start,
            rest,
            tag,
            at_end,
            call,
        };
        let mut response = head.map(|()| answer::body(begun));
        if let Some(kept) = kept {
            response.extensions_mut().insert(kept);
        }
        Ok(response)
    }

    /// Says in the head of an answer, and to the access log, who answered; answers
    /// what says it in the message.
    fn tell(&self, way: &Way<'_>, head: &mut Response<()>) -> Tag {
        let served = way.served(head.headers());
        let version = head.headers().get(VERSION).and_then(|v| v.to_str().ok());
        let version = version.and_then(|v| v.parse().ok()).unwrap_or(0);
        if let Some(facts) = self.parts.extensions.get::<RequestFacts>() {
            facts.forwarded(&served.connection, &served.route, version);
        }
        for (name, text) in [(CONNECTION, &served.connection), (ROUTE, &served.route)] {
            if let Ok(value) = text.parse() {
                head.headers_mut().insert(name, value);
            }
        }
        Tag::new(match self.method.served {
            Some(number) => encode_field(number, &served),
            None => Bytes::new(),
        })
    }

    /// A status that is no success. The whole answer is passed on if nobody does
    /// better; one that had begun has no message then, as gRPC wants it.
    pub(super) fn failed(
        &self,
        code: Code,
        status: &HeaderMap,
        response: Response<Body>,
    ) -> Box<Failure> {
        let reason = reason_of(status);
        let pushback = status.get(PUSHBACK).and_then(|v| v.to_str().ok());
        let pushback = pushback.and_then(|text| text.parse::<i64>().ok());
        Box::new(Failure {
            verdict: verdict(code, reason.as_deref(), self.peek.asks),
            reason,
            response,
            in_doubt: false,
            is_gone: false,
            code,
            // For good is longer than any deadline.
            pushback: pushback
                .map(|ms| u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis)),
        })
    }
}

//! The standard metrics of a gRPC server, with a zero series for every method
//! and code from the start, so that a rate over them is never missing.

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram, counter, histogram};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;

use super::{GRPC_HANDLED, GRPC_SECONDS, GRPC_STARTED, UNKNOWN_METHOD};
use crate::proto;

/// Every gRPC code by its number, as written in `grpc_code`.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

static METHODS: OnceLock<Methods> = OnceLock::new();
static UNMEASURED: LazyLock<Call> = LazyLock::new(Call::unmeasured);

struct Methods {
    /// By path, such as `/lancegate.v1.SearchService/Search`.
    known: HashMap<String, Call>,
    unknown: Call,
}

/// The metrics of one method.
pub struct Call {
    started: Counter,
    handled: [Counter; CODES.len()],
    seconds: Histogram,
}

impl Call {
    fn new(kind: &'static str, service: &str, method: &str) -> Self {
        let labels = [
            ("grpc_type", kind.to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", method.to_owned()),
        ];
        let handled = |code: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(("grpc_code", code.to_owned()));
            let counter = counter!(GRPC_HANDLED, &labels);
            counter.increment(0);
            counter
        };
        let call = Self {
            started: counter!(GRPC_STARTED, &labels),
            handled: CODES.map(handled),
            seconds: histogram!(GRPC_SECONDS, &labels),
        };
        call.started.increment(0);
        call
    }

    /// Before [`super::install`], or without it, nothing is counted.
    fn unmeasured() -> Self {
        Self {
            started: Counter::noop(),
            handled: CODES.map(|_| Counter::noop()),
            seconds: Histogram::noop(),
        }
    }

    /// A call has come in.
    pub fn started(&self) {
        self.started.increment(1);
    }

    /// The client has been sent everything, or has gone away.
    pub fn handled(&self, code: Code, elapsed: Duration) {
        // The discriminants of Code are the numbers 0 to 16 of the protocol.
        if let Some(counter) = self.handled.get(code as usize) {
            counter.increment(1);
        }
        self.seconds.record(elapsed);
    }
}

/// The metrics of the method at `path`; those of `unknown` if there is none.
pub fn method(path: &str) -> &'static Call {
    match METHODS.get() {
        Some(methods) => methods.known.get(path).unwrap_or(&methods.unknown),
        None => &UNMEASURED,
    }
}

/// The name of a code as `grpc_code` and the access log have it.
pub fn code_name(code: Code) -> &'static str {
    CODES.get(code as usize).copied().unwrap_or("Unknown")
}

/// Creates the series. The recorder must be there.
pub(super) fn start() {
    METHODS.get_or_init(|| {
        let mut known = HashMap::new();
        for set in [
            proto::DESCRIPTORS,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            add_methods(set, &mut known);
        }
        Methods {
            known,
            unknown: Call::new(UNKNOWN_METHOD, UNKNOWN_METHOD, UNKNOWN_METHOD),
        }
    });
}

fn add_methods(descriptors: &[u8], known: &mut HashMap<String, Call>) {
    // The sets are compiled in; one that did not decode would show as methods
    // counted as unknown, which a test below excludes.
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => "unary",
                    (true, false) => "client_stream",
                    (false, true) => "server_stream",
                    (true, true) => "bidi_stream",
                };
                let path = format!("/{name}/{}", method.name());
                known.insert(path, Call::new(kind, &name, method.name()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_starts_with_zero_series() {
        let text = super::super::install(10).unwrap().render();
        for (kind, service, method) in [
            ("unary", "lancegate.v1.TableService", "OptimizeTable"),
            ("server_stream", "grpc.health.v1.Health", "Watch"),
            ("unary", "grpc.health.v1.Health", "List"),
            (
                "bidi_stream",
                "grpc.reflection.v1.ServerReflection",
                "ServerReflectionInfo",
            ),
            ("unknown", "unknown", "unknown"),
        ] {
            let labels =
                format!("grpc_type=\"{kind}\",grpc_service=\"{service}\",grpc_method=\"{method}\"");
            assert!(
                text.contains(&format!("grpc_server_started_total{{{labels}}}")),
                "{labels}"
            );
            for code in ["OK", "DeadlineExceeded", "Canceled", "Unauthenticated"] {
                let series = format!("grpc_server_handled_total{{{labels},grpc_code=\"{code}\"}}");
                assert!(text.contains(&series), "{series}");
            }
        }
    }

    #[test]
    fn code_names_are_those_of_the_protocol() {
        assert_eq!(code_name(Code::Ok), "OK");
        assert_eq!(code_name(Code::Cancelled), "Canceled");
        assert_eq!(code_name(Code::DeadlineExceeded), "DeadlineExceeded");
        assert_eq!(code_name(Code::Unauthenticated), "Unauthenticated");
    }
}

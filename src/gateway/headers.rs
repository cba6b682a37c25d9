//! What a forwarded request says besides its message: what the client said, the
//! time that is left, the trace, and which processes it has passed through.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::{domain::Error, node::VIA, telemetry::traces};

const TIMEOUT: &str = "grpc-timeout";

/// What is about the connection to the client and not about the request (RFC 9113,
/// 8.2.2), and what this process says itself.
const OF_THE_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "te",
    TIMEOUT,
    // The answer's frames must be plain: something is put behind the message.
    "grpc-accept-encoding",
];

/// Most processes that a request may pass through.
const MAX_HOPS: usize = 8;

/// The headers of a request as a node gets them, but for the time that is left.
///
/// # Errors
/// It has passed through here already, or through too many processes.
pub(super) fn forwarded(headers: &HeaderMap, instance: &str) -> Result<HeaderMap, Error> {
    let via = via(headers, instance)?;
    let mut forwarded = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        if !OF_THE_HOP.contains(&name.as_str()) && *name != header::CONTENT_LENGTH {
            forwarded.append(name, value.clone());
        }
    }
    forwarded.insert(header::TE, HeaderValue::from_static("trailers"));
    forwarded.insert(VIA, via);
    traces::continue_in(&mut forwarded);
    Ok(forwarded)
}

/// Refuses a request that was here before.
///
/// # Errors
/// As [`forwarded`].
pub(super) fn via(headers: &HeaderMap, instance: &str) -> Result<HeaderValue, Error> {
    let mut passed: Vec<&str> = headers
        .get_all(VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if passed.contains(&instance) {
        return Err(looped(
            "this request has passed through this process already",
        ));
    }
    if passed.len() >= MAX_HOPS {
        return Err(looped("this request has passed through too many processes"));
    }
    passed.push(instance);
    // Of what came in as ASCII text and an id of ours.
    HeaderValue::try_from(passed.join(",")).map_err(|_| Error::invalid(VIA, "is no ASCII text"))
}

/// The reason of a request that went in a circle.
pub(super) const LOOP: &str = "ROUTING_LOOP";

fn looped(text: &str) -> Error {
    Error::Precondition {
        reason: LOOP,
        message: format!("{text}: the nodes of the configuration lead in a circle"),
    }
}

/// Says how much time a node has: what is left, less `margin` for the way back.
pub(super) fn set_timeout(headers: &mut HeaderMap, left: Duration, margin: Duration) {
    // Of little time only a part is kept back.
    let given = left - margin.min(left / 4);
    let millis = given.as_millis();
    // Eight digits are the most that the protocol allows.
    let text = match millis {
        0 => format!("{}u", given.as_micros().max(1)),
        1..=99_999_999 => format!("{millis}m"),
        _ => format!("{}S", given.as_secs().min(99_999_999)),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn what_is_of_the_hop_stays_and_the_rest_goes_on() {
        let came = with(&[
            ("grpc-timeout", "5S"),
            ("grpc-accept-encoding", "gzip"),
            ("content-length", "7"),
            ("te", "trailers"),
            ("grpc-encoding", "gzip"),
            ("x-lancedb-min-version", "7"),
            ("x-lancegate-token", "abc"),
            ("x-request-id", "id"),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            ("baggage", "a=b"),
        ]);
        let sent = forwarded(&came, "me").unwrap();
        for gone in ["grpc-timeout", "grpc-accept-encoding", "content-length"] {
            assert!(!sent.contains_key(gone), "{gone}");
        }
        for kept in [
            "grpc-encoding",
            "x-lancedb-min-version",
            "x-lancegate-token",
            "x-request-id",
            "traceparent",
            "baggage",
        ] {
            assert_eq!(sent.get(kept), came.get(kept), "{kept}");
        }
        assert_eq!(sent[VIA], "me");
        assert_eq!(sent["te"], "trailers");
    }

    #[test]
    fn with_traces_on_the_node_is_within_the_span_of_this_request() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        tracing::subscriber::with_default(subscriber, || {
            let came = with(&[("traceparent", parent)]);
            let span = tracing::info_span!("of this request");
            span.set_parent(traces::parent(&came).unwrap()).unwrap();
            let sent = span.in_scope(|| forwarded(&came, "me").unwrap());
            let sent: Vec<_> = sent.get_all("traceparent").iter().collect();
            assert_eq!(sent.len(), 1);
            let sent = sent[0].to_str().unwrap();
            assert!(sent.starts_with(&parent[..36]), "{sent}");
            assert_ne!(sent, parent, "another span of the same trace");
        });
    }

    #[test]
    fn nothing_passes_through_twice_or_too_often() {
        let passed = with(&[(VIA, "a, b"), (VIA, "c")]);
        assert_eq!(via(&passed, "d").unwrap(), "a,b,c,d");
        for again in ["a", "b", "c"] {
            let refused = via(&passed, again).unwrap_err();
            assert!(matches!(refused, Error::Precondition { reason: LOOP, .. }));
        }
        let eight = with(&[(VIA, "1,2,3,4,5,6,7,8")]);
        assert!(via(&eight, "9").is_err());
    }

    #[test]
    fn a_node_gets_less_time_than_there_is() {
        let given = |left, margin| {
            let mut map = HeaderMap::new();
            set_timeout(&mut map, left, margin);
            map[TIMEOUT].to_str().unwrap().to_owned()
        };
        let ms = Duration::from_millis;
        assert_eq!(given(ms(1_000), ms(5)), "995m");
        assert_eq!(given(ms(4), ms(5)), "3m");
        assert_eq!(given(ms(1), ms(5)), "750u");
        assert_eq!(given(Duration::ZERO, ms(5)), "1u");
        assert_eq!(given(Duration::from_secs(200_000), ms(0)), "200000S");
    }
}

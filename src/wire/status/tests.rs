//! Codes, details and sizes of statuses.

use super::*;
use crate::domain::Resource;

fn violation(text: &str) -> Violation {
    Violation {
        field: text.into(),
        description: text.into(),
    }
}

fn all(text: &str) -> Vec<(Error, Code, &'static str)> {
    let t = || text.to_owned();
    let name = || text.to_owned();
    vec![
        (
            Error::invalid(t(), t()),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            Error::not_found(Resource::Table, name()),
            Code::NotFound,
            "TABLE_NOT_FOUND",
        ),
        (
            Error::AlreadyExists {
                kind: Resource::Tag,
                name: name(),
            },
            Code::AlreadyExists,
            "TAG_ALREADY_EXISTS",
        ),
        (Error::Conflict(t()), Code::Aborted, "COMMIT_CONFLICT"),
        (
            Error::Unauthenticated(t()),
            Code::Unauthenticated,
            "UNAUTHENTICATED",
        ),
        (Error::Denied(t()), Code::PermissionDenied, "ACCESS_DENIED"),
        (
            Error::Quota {
                quota: "requests_per_second",
                message: t(),
                retry_after: Some(Duration::from_millis(250)),
            },
            Code::ResourceExhausted,
            "QUOTA_EXCEEDED",
        ),
        (
            Error::Precondition {
                reason: "FENCED",
                message: t(),
            },
            Code::FailedPrecondition,
            "FENCED",
        ),
        (
            Error::Refused {
                reason: "NEEDS_RESTART",
                message: t(),
                violations: vec![violation(text); 100],
            },
            Code::FailedPrecondition,
            "NEEDS_RESTART",
        ),
        (
            Error::Unavailable {
                reason: "NO_CONNECTION",
                message: t(),
                retry_after: Duration::from_millis(250),
            },
            Code::Unavailable,
            "NO_CONNECTION",
        ),
        (
            Error::Overloaded(t()),
            Code::ResourceExhausted,
            "OVERLOADED",
        ),
        (
            Error::Shed {
                cause: "queue_full",
                message: "too many wait",
                retry_after: Duration::from_millis(250),
            },
            Code::ResourceExhausted,
            "OVERLOADED",
        ),
        (Error::TooLarge(t()), Code::ResourceExhausted, "TOO_LARGE"),
        (
            Error::Deadline(Duration::from_secs(2)),
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
        ),
        (
            Error::Stalled("the answer was not read"),
            Code::DeadlineExceeded,
            "STALLED",
        ),
        (
            Error::Unsupported(t()),
            Code::Unimplemented,
            "NOT_SUPPORTED",
        ),
        (Error::OutcomeUnknown, Code::Unknown, "OUTCOME_UNKNOWN"),
        (
            Error::RequestIdReused,
            Code::InvalidArgument,
            "REQUEST_ID_REUSED",
        ),
        (Error::Corrupt(t()), Code::DataLoss, "DATA_DAMAGED"),
        (Error::Internal(t()), Code::Internal, "INTERNAL"),
    ]
}

/// Bytes of the headers that carry a status.
fn header_bytes(status: Status) -> usize {
    let headers = status.into_http::<()>().headers().clone();
    headers
        .iter()
        .map(|(k, v)| k.as_str().len() + v.len())
        .sum()
}

#[test]
fn each_error_has_its_code_and_reason() {
    for (error, code, reason) in all("something") {
        let status = status(&error);
        assert_eq!(status.code(), code, "{error:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (reason, "lancegate")
        );
    }
}

#[test]
fn details_say_what_to_do() {
    let found = |i: usize| status(&all("packages")[i].0);
    let violation = &found(0).get_details_bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, "packages");
    let resource = found(1).get_details_resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("table", "packages")
    );
    assert_eq!(
        found(7)
            .get_details_precondition_failure()
            .unwrap()
            .violations[0]
            .r#type,
        "FENCED"
    );
    let settings = found(8).get_details_precondition_failure().unwrap();
    assert_eq!(settings.violations.len(), MAX_SETTINGS);
    assert_eq!(settings.violations[0].subject, "packages");
    assert_eq!(settings.violations[63].description, "and 37 more faults");
    let retry = found(9).get_details_retry_info().unwrap();
    assert_eq!(retry.retry_delay, Some(Duration::from_millis(250)));
    assert!(found(10).get_details_quota_failure().is_some());
    assert!(found(10).get_details_retry_info().is_some());
    for (overloaded, millis) in [(6, "250"), (10, "1000"), (11, "250")] {
        let status = found(overloaded);
        let pushback = status.metadata().get(PUSHBACK).unwrap();
        assert_eq!(pushback.to_str().unwrap(), millis);
    }
    let info = found(11).get_details_error_info().unwrap();
    assert_eq!(info.metadata["cause"], "queue_full");
    assert!(found(12).metadata().get(PUSHBACK).is_none());
    assert!(found(9).message().contains("packages"));
}

#[test]
fn our_faults_are_not_told() {
    let status = status(&Error::Internal("/var/lib/secret".into()));
    let sent = format!("{status:?} {:?}", String::from_utf8_lossy(status.details()));
    assert!(!sent.contains("secret"), "{sent}");
}

#[test]
fn statuses_fit_into_headers() {
    for text in ["x".repeat(100_000), "ä€🦀\n\"".repeat(20_000)] {
        for (error, ..) in all(&text) {
            let bytes = header_bytes(status(&error));
            assert!(bytes < 8_192, "{bytes} bytes");
        }
        let many = |n: usize, text: &str| status(&Error::Invalid(vec![violation(text); n]));
        for n in [20, 21, 200] {
            let bytes = header_bytes(many(n, &text));
            assert!(bytes < 8_192, "{n} long violations: {bytes} bytes");
            let short = many(n, "abc");
            let shown = short.get_details_bad_request().unwrap().field_violations;
            assert_eq!(shown.len(), 20);
            let last = format!("and {} more faults", n - 19);
            assert_eq!(shown[19].description == last, n > 20, "{:?}", shown[19]);
        }
    }
}

#[test]
fn texts_are_cut_between_characters() {
    for length in 290..320 {
        let text = "a".repeat(length % 5) + &"€".repeat(length);
        let short = cut(&text);
        assert!(short.len() <= MAX_TEXT && short.ends_with('…'));
    }
    assert_eq!(cut("short"), "short");
}

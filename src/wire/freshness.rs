//! How fresh a read must be: the field `freshness`, LanceDB's own request headers
//! as metadata, and the configured default.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tonic::metadata::MetadataMap;

use crate::{
    config::DefaultFreshness,
    domain::{
        Bounds, Error, Freshness, Position, Result, Session, TableName, TokenKey, table::VersionRef,
    },
    proto::v1 as pb,
};

/// A token: in requests a lower bound, in answers what was seen.
pub const TOKEN: &str = "x-lancegate-token";
/// LanceDB: the version of the caller's last write.
pub const MIN_VERSION: &str = "x-lancedb-min-version";
/// LanceDB: the newest version that the caller has read.
pub const MIN_READ_VERSION: &str = "x-lancedb-min-read-version";
/// LanceDB: everything that was committed until then (RFC 3339).
pub const MIN_TIMESTAMP: &str = "x-lancedb-min-timestamp";

/// Longest token that is looked at.
const MAX_TOKEN: usize = 128;

/// What a request says of freshness.
pub struct Asked<'a> {
    pub table: &'a TableName,
    pub field: Option<pb::Freshness>,
    pub metadata: &'a MetadataMap,
}

/// How fresh the answer must be; `key` is `None` until the primary is known.
/// Bounds of the metadata hold beside those of the
/// field; a field that names one version, or the primary's newest, stands alone.
pub fn freshness(
    asked: Asked<'_>,
    default: DefaultFreshness,
    key: Option<&TokenKey>,
    now: SystemTime,
) -> Result<Freshness> {
    use pb::freshness::Kind;
    let Asked {
        table,
        field,
        metadata,
    } = asked;
    let mut bounds = from_metadata(metadata, table, key)?;
    match field.and_then(|f| f.kind) {
        None => match default {
            DefaultFreshness::Eventual => {}
            DefaultFreshness::Strong => return Ok(Freshness::Strong),
            DefaultFreshness::MaxAge(age) => bounds.as_of = bounds.as_of.max(now.checked_sub(age)),
            DefaultFreshness::MaxVersions(number) => bounds.versions_behind = Some(number),
        },
        Some(Kind::Eventual(_)) => {}
        Some(Kind::Token(token)) => {
            let position = open(key, table, &token, "freshness.token")?;
            bounds.position = newer(bounds.position, position);
        }
        Some(Kind::MaxStaleness(most)) => {
            let age = super::table::duration(most.age, "freshness.max_staleness.age")?;
            if age.is_none() && most.versions.is_none() {
                let text = "needs age or versions";
                return Err(Error::invalid("freshness.max_staleness", text));
            }
            // What is older than the clock can say is no bound.
            bounds.as_of = bounds.as_of.max(age.and_then(|age| now.checked_sub(age)));
            bounds.versions_behind = most.versions;
        }
        Some(Kind::Strong(_)) => return Ok(Freshness::Strong),
        Some(Kind::Exact(exact)) => return exact_version(exact).map(Freshness::Exact),
        Some(Kind::Session(text)) => {
            let session = session(key, table, &text, "freshness.session")?;
            if session.has_expired(now) {
                return Err(expired());
            }
            return Ok(Freshness::Session(session.position));
        }
    }
    Ok(Freshness::Bounded(bounds))
}

fn from_metadata(
    metadata: &MetadataMap,
    table: &TableName,
    key: Option<&TokenKey>,
) -> Result<Bounds> {
    let written = number(metadata, MIN_VERSION)?;
    let read = number(metadata, MIN_READ_VERSION)?;
    let position = text(metadata, TOKEN)?
        .map(|token| open(key, table, token, TOKEN))
        .transpose()?;
    let as_of = text(metadata, MIN_TIMESTAMP)?
        .map(|text| {
            DateTime::parse_from_rfc3339(text)
                .map(|time| SystemTime::from(time.with_timezone(&Utc)))
                .map_err(|_| Error::invalid(MIN_TIMESTAMP, "is no RFC 3339 time"))
        })
        .transpose()?;
    Ok(Bounds {
        position,
        version: written.max(read),
        versions_behind: None,
        as_of,
    })
}

fn text<'a>(metadata: &'a MetadataMap, name: &'static str) -> Result<Option<&'a str>> {
    metadata
        .get(name)
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| Error::invalid(name, "is no ASCII text"))
}

fn number(metadata: &MetadataMap, name: &'static str) -> Result<Option<u64>> {
    text(metadata, name)?
        .map(|text| text.trim().parse())
        .transpose()
        .map_err(|_| Error::invalid(name, "is no version number"))
}

/// The session that a text stands for, expired or not.
pub fn session(
    key: Option<&TokenKey>,
    table: &TableName,
    text: &str,
    field: &str,
) -> Result<Session> {
    known(key, field)?
        .open_session(table, text)
        .map_err(|fault| Error::invalid(field, fault.to_string()))
}

/// What is told to who uses a session that has ended.
pub fn expired() -> Error {
    Error::Precondition {
        reason: "SESSION_EXPIRED",
        message: "the session has expired".into(),
    }
}

fn open(key: Option<&TokenKey>, table: &TableName, token: &str, field: &str) -> Result<Position> {
    if token.len() > MAX_TOKEN {
        return Err(Error::invalid(field, "is longer than any token"));
    }
    known(key, field)?
        .open(table, token)
        .map_err(|fault| Error::invalid(field, fault.to_string()))
}

fn known<'a>(key: Option<&'a TokenKey>, field: &str) -> Result<&'a TokenKey> {
    key.ok_or_else(|| Error::Unavailable {
        reason: "CONNECTION_NOT_READY",
        message: format!("{field}: no connection has told yet which primary this is"),
        retry_after: Duration::from_secs(1),
    })
}

/// The stricter one of two tokens. Where they are of two creations of a table,
/// one of them cannot be met: the field's, which the caller chose for this call.
fn newer(metadata: Option<Position>, field: Position) -> Option<Position> {
    Some(match metadata {
        Some(other) if other.reaches(&field) => other,
        _ => field,
    })
}

fn exact_version(exact: pb::ExactVersion) -> Result<VersionRef> {
    use pb::exact_version::Version;
    match exact.version {
        None => Err(Error::invalid("freshness.exact", "needs a number or a tag")),
        Some(Version::Number(0)) => Err(Error::invalid(
            "freshness.exact.number",
            "must be at least 1",
        )),
        Some(Version::Number(number)) => Ok(VersionRef::Number(number)),
        Some(Version::Tag(tag)) => {
            super::table::tag_name(tag, "freshness.exact.tag").map(VersionRef::Tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Incarnation, wire::tests::fields};

    fn table() -> TableName {
        TableName::parse("t").unwrap()
    }

    fn ask(
        kind: Option<pb::freshness::Kind>,
        headers: &[(&'static str, &str)],
        default: DefaultFreshness,
    ) -> Result<Freshness> {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        let asked = Asked {
            table: &table(),
            field: kind.map(|kind| pb::Freshness { kind: Some(kind) }),
            metadata: &metadata,
        };
        freshness(asked, default, Some(&TokenKey::of("p")), noon())
    }

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    use DefaultFreshness::Eventual;
    use pb::freshness::Kind;

    #[test]
    fn the_default_is_for_those_who_say_nothing() {
        assert_eq!(ask(None, &[], Eventual), Ok(Freshness::EVENTUAL));
        assert_eq!(
            ask(None, &[], DefaultFreshness::Strong),
            Ok(Freshness::Strong)
        );
        let eventual = Some(Kind::Eventual(pb::Eventual {}));
        assert_eq!(
            ask(eventual, &[], DefaultFreshness::Strong),
            Ok(Freshness::EVENTUAL)
        );
        let aged = ask(None, &[], DefaultFreshness::MaxAge(Duration::from_secs(5)));
        let Ok(Freshness::Bounded(bounds)) = aged else {
            panic!("{aged:?}")
        };
        assert_eq!(bounds.as_of, Some(noon() - Duration::from_secs(5)));
    }

    #[test]
    fn lancedb_headers_are_lower_bounds() {
        let headers = [
            (MIN_VERSION, "7"),
            (MIN_READ_VERSION, "9"),
            (MIN_TIMESTAMP, "2027-01-15T08:00:00.5+00:00"),
        ];
        let Ok(Freshness::Bounded(bounds)) = ask(None, &headers, Eventual) else {
            panic!()
        };
        assert_eq!(bounds.version, Some(9));
        assert_eq!(bounds.as_of, Some(noon() + Duration::from_millis(500)));
        for (name, bad) in [
            (MIN_VERSION, "new"),
            (MIN_READ_VERSION, "-1"),
            (MIN_TIMESTAMP, "yesterday"),
            (TOKEN, "AAAA"),
        ] {
            assert_eq!(fields(ask(None, &[(name, bad)], Eventual)), [name]);
        }
    }

    #[test]
    fn the_newer_of_two_tokens_counts() {
        let incarnation = Incarnation::fresh();
        let at = |version| Position {
            incarnation,
            version,
        };
        let token = |version| TokenKey::of("p").seal(&table(), &at(version));
        for (field, header) in [(3, 8), (8, 3)] {
            let field = Some(Kind::Token(token(field)));
            let outcome = ask(field, &[(TOKEN, &token(header))], Eventual);
            let Ok(Freshness::Bounded(bounds)) = outcome else {
                panic!()
            };
            assert_eq!(bounds.position, Some(at(8)));
        }
        let long = Some(Kind::Token("A".repeat(1_000_000)));
        assert_eq!(fields(ask(long, &[], Eventual)), ["freshness.token"]);
    }

    #[test]
    fn before_the_primary_is_known_a_token_is_neither_good_nor_bad() {
        let asked = Asked {
            table: &table(),
            field: Some(pb::Freshness {
                kind: Some(Kind::Token("A".repeat(60))),
            }),
            metadata: &MetadataMap::new(),
        };
        let outcome = freshness(asked, Eventual, None, noon());
        assert!(
            matches!(outcome, Err(Error::Unavailable { .. })),
            "{outcome:?}"
        );
    }

    #[test]
    fn one_version_needs_a_name() {
        let exact = |version| Some(Kind::Exact(pb::ExactVersion { version }));
        use pb::exact_version::Version;
        assert_eq!(
            ask(exact(Some(Version::Number(4))), &[], Eventual),
            Ok(Freshness::Exact(VersionRef::Number(4)))
        );
        assert_eq!(
            fields(ask(exact(Some(Version::Number(0))), &[], Eventual)),
            ["freshness.exact.number"]
        );
        assert_eq!(fields(ask(exact(None), &[], Eventual)), ["freshness.exact"]);
        let stale = Some(Kind::MaxStaleness(pb::MaxStaleness::default()));
        assert_eq!(
            fields(ask(stale, &[], Eventual)),
            ["freshness.max_staleness"]
        );
    }
}

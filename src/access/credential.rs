//! What a request shows of who sends it.

use http::{HeaderMap, HeaderName, header};

use super::keys::PREFIX;
use crate::domain::{Error, PeerCertificate};

/// Where an API key may be, besides `authorization`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longest key or token that is looked at.
const MAX_LENGTH: usize = 16 << 10;

/// What is shown.
#[derive(Debug, PartialEq)]
pub(super) enum Credential<'a> {
    Key(&'a str),
    Jwt(&'a str),
    Certificate(&'a PeerCertificate),
}

/// Why nobody is let in, and for the metrics why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is shown.
    Missing,
    /// What is shown is neither a key nor a token, or it is several.
    Malformed,
    UnknownKey,
    Expired,
    /// A token that is not signed as it must be, or not for this server.
    InvalidToken,
    /// The method is for others.
    Method,
    /// The table is for others.
    Table,
    /// The rows are for others.
    Rows,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Malformed,
        Self::UnknownKey,
        Self::Expired,
        Self::InvalidToken,
        Self::Method,
        Self::Table,
        Self::Rows,
    ];

    /// Why somebody was told that something is not allowed.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Denied(_) => Self::ALL.into_iter().find(|r| r.error() == *error),
            _ => None,
        }
    }

    /// The word used in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing_credentials",
            Self::Malformed => "malformed_credentials",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::InvalidToken => "invalid_token",
            Self::Method => "method",
            Self::Table => "table",
            Self::Rows => "rows",
        }
    }

    /// What the client is told: nothing of how near it was.
    pub fn error(self) -> Error {
        let text = match self {
            Self::Missing => {
                "credentials are required: authorization: Bearer with an API key or a token, or x-api-key"
            }
            Self::Malformed => {
                "the credentials cannot be read: one of authorization: Bearer and x-api-key is expected"
            }
            Self::UnknownKey | Self::InvalidToken => "the credentials are not valid",
            Self::Expired => "the credentials have expired",
            Self::Method => return Error::Denied("this method is not allowed".into()),
            Self::Table => return Error::Denied("this is not allowed on this table".into()),
            Self::Rows => return Error::Denied("this is not allowed on these rows".into()),
        };
        Error::Unauthenticated(text.into())
    }
}

/// What a request shows. A certificate counts where there is nothing else: it is often
/// that of a proxy or of a whole machine.
///
/// # Errors
/// Nothing is shown, or it is not clear what.
pub(super) fn shown<'a>(
    headers: &'a HeaderMap,
    certificate: Option<&'a PeerCertificate>,
) -> Result<Credential<'a>, Refusal> {
    let bearer = only(headers, &header::AUTHORIZATION)?
        .map(bearer)
        .transpose()?;
    let key = only(headers, &API_KEY)?;
    let text = match (bearer, key) {
        (Some(bearer), Some(key)) if bearer != key => return Err(Refusal::Malformed),
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => {
            // One that names nobody is nobody's.
            return certificate
                .filter(|certificate| !certificate.subject.is_empty())
                .map(Credential::Certificate)
                .ok_or(Refusal::Missing);
        }
    };
    match text.starts_with(PREFIX) {
        true => Ok(Credential::Key(text)),
        // What has no prefix of a key is none.
        false if key.is_some() => Err(Refusal::UnknownKey),
        false => Ok(Credential::Jwt(text)),
    }
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if values.next().is_none() && text.len() <= MAX_LENGTH => Ok(Some(text)),
        _ => Err(Refusal::Malformed),
    }
}

/// What is behind `Bearer`.
fn bearer(text: &str) -> Result<&str, Refusal> {
    let (scheme, rest) = text.split_once(' ').ok_or(Refusal::Malformed)?;
    match rest.trim() {
        "" => Err(Refusal::Malformed),
        _ if !scheme.eq_ignore_ascii_case("bearer") => Err(Refusal::Malformed),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_request_shows_one_thing() {
        use Credential::{Jwt, Key};
        let long = format!("Bearer {}", "a".repeat(MAX_LENGTH));
        for (headers, expected) in [
            (vec![], Err(Refusal::Missing)),
            (vec![("authorization", "Bearer lgk_a")], Ok(Key("lgk_a"))),
            (vec![("authorization", "bearer  lgk_a ")], Ok(Key("lgk_a"))),
            (vec![("authorization", "Bearer a.b.c")], Ok(Jwt("a.b.c"))),
            (vec![("x-api-key", "lgk_a")], Ok(Key("lgk_a"))),
            (vec![("x-api-key", "a.b.c")], Err(Refusal::UnknownKey)),
            (
                vec![("x-api-key", "lgk_a"), ("authorization", "Bearer lgk_a")],
                Ok(Key("lgk_a")),
            ),
            (
                vec![("x-api-key", "lgk_a"), ("authorization", "Bearer lgk_b")],
                Err(Refusal::Malformed),
            ),
            (
                vec![("x-api-key", "lgk_a"), ("x-api-key", "lgk_a")],
                Err(Refusal::Malformed),
            ),
            (
                vec![("authorization", "Basic YTpi")],
                Err(Refusal::Malformed),
            ),
            (vec![("authorization", "lgk_a")], Err(Refusal::Malformed)),
            (vec![("authorization", "Bearer ")], Err(Refusal::Malformed)),
            (vec![("authorization", &long)], Err(Refusal::Malformed)),
        ] {
            assert_eq!(shown(&with(&headers), None), expected, "{headers:?}");
        }
        let named = |subject: &str| PeerCertificate {
            subject: subject.into(),
            expires: std::time::SystemTime::now(),
        };
        let certificate = named("CN=a");
        let shown_with = |headers: &HeaderMap| {
            let found = shown(headers, Some(&certificate));
            found.map(|found| matches!(found, Credential::Certificate(_)))
        };
        assert_eq!(shown_with(&HeaderMap::new()), Ok(true));
        let nobody = named("");
        let none = HeaderMap::new();
        let found = shown(&none, Some(&nobody));
        assert_eq!(found.map(drop), Err(Refusal::Missing));
        // Who shows something else is not let in by the certificate instead.
        assert_eq!(shown_with(&with(&[("x-api-key", "lgk_a")])), Ok(false));
        assert!(shown_with(&with(&[("x-api-key", "bad")])).is_err());
    }

    #[test]
    fn nobody_is_told_how_near_they_were() {
        let text = |refusal: Refusal| refusal.error().to_string();
        assert_eq!(text(Refusal::UnknownKey), text(Refusal::InvalidToken));
        for refusal in Refusal::ALL {
            let word = refusal.as_str();
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}

//! What the errors of an object store mean to whoever runs the server, and what to
//! do about them. The stores say it in texts and codes of their own.

use std::{error::Error as StdError, io};

use secrecy::{ExposeSecret, SecretString};

mod known;

use self::known::ADVICE;
pub(super) use self::known::SILENT;
use super::ObjectError;
use crate::config::{Location, read_secret};

/// What went wrong, and what to do about it.
pub(super) fn of(error: &(dyn StdError + 'static)) -> String {
    in_words(&chain(error))
}

/// The kind of an error, by what is somewhere below it: of its texts nothing.
pub(super) fn kind(error: &(dyn StdError + 'static)) -> &'static str {
    let causes = std::iter::successors(Some(error), |&e| e.source());
    let known = causes.filter_map(|cause| {
        if let Some(cause) = cause.downcast_ref::<object_store::Error>() {
            return match cause {
                object_store::Error::NotFound { .. } => Some("it is not there"),
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => {
                    Some("it refused the server's credentials")
                }
                _ => None,
            };
        }
        match cause.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::NotFound => Some("it is not there"),
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => Some("it is no folder"),
            io::ErrorKind::PermissionDenied => Some("the server may not use it"),
            _ => None,
        }
    });
    known.last().unwrap_or("it did not answer as it should")
}

/// The same, of a text.
pub fn in_words(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let cause = shortened(text);
    let advice = ADVICE
        .iter()
        .find(|(marks, _)| marks.iter().any(|mark| lower.contains(mark)));
    match advice {
        Some((_, advice)) => format!("{advice}. The store's words: {cause}"),
        None => cause,
    }
}

/// An error and its causes, once each.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&e| e.source()) {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
    }
    text
}

/// One line that a person reads to its end: of a long one its beginning, which says
/// what was asked, and its end, which says what was answered.
fn shortened(text: &str) -> String {
    const FIRST: usize = 150;
    const LAST: usize = 250;
    let of_the_source = |word: &&str| word.starts_with('/') && word.contains(".rs:");
    let words = text.split_whitespace().filter(|word| !of_the_source(word));
    let line = words.collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches(',');
    let length = line.chars().count();
    if length <= FIRST + LAST {
        return line.to_owned();
    }
    let first: String = line.chars().take(FIRST).collect();
    let last: String = line.chars().skip(length - LAST).collect();
    format!("{first} … {last}")
}

/// The text without any value of the location's options that may be a secret. No
/// store is known to repeat one, and nobody can promise it for all.
pub fn redacted(text: &str, location: &Location) -> String {
    let mut text = text.to_owned();
    let given = location.storage_options.iter();
    for (key, value) in given
        .map(|(key, value)| (key, value.clone()))
        .chain(now(location))
    {
        let key = key.to_ascii_lowercase();
        let value = value.expose_secret();
        let may_be_secret = [
            "key",
            "secret",
            "token",
            "password",
            "sas",
            "credential",
            "headers.",
        ];
        if value.len() >= 4 && may_be_secret.iter().any(|word| key.contains(word)) {
            text = text.replace(value, "…");
        }
        if let Some(password) = password_in(value) {
            text = text.replace(password, "…");
        }
    }
    text
}

/// What the files of options have in them by now.
fn now(location: &Location) -> impl Iterator<Item = (&String, SecretString)> {
    let files = location.option_files.iter();
    files.filter_map(|(key, file)| Some((key, read_secret(file).ok()?)))
}

/// The password of an address, as it is written there.
fn password_in(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty()).then_some(password)
}

impl ObjectError {
    /// Whether the store, or how it is configured, does not know what was asked.
    pub(super) fn is_unknown_to_the_store(&self) -> bool {
        let ObjectError::Store(error) = self else {
            return false;
        };
        let text = chain(error.as_ref()).to_ascii_lowercase();
        matches!(
            error.downcast_ref::<object_store::Error>(),
            Some(
                object_store::Error::NotImplemented { .. }
                    | object_store::Error::NotSupported { .. }
            )
        ) || text.contains("notimplemented")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_words_become_something_to_do() {
        for (text, part) in [
            ("<Code>RequestTimeTooSkewed</Code>", "clock"),
            (
                "403 Forbidden: <Code>SignatureDoesNotMatch</Code>",
                "secret key is wrong",
            ),
            ("403: <Code>InvalidAccessKeyId</Code>", "key id"),
            ("404 Not Found: <Code>NoSuchBucket</Code>", "create it"),
            ("404: ContainerNotFound", "create it"),
            ("403 Forbidden: <Code>AccessDenied</Code>", "s3:PutObject"),
            (
                "error sending request: tcp connect error: Connection refused",
                "reached",
            ),
            ("error sending request: dns error", "resolved"),
            ("Invalid Access Key: Invalid symbol 33", "whole"),
            ("Unable to open service account file", "path"),
            ("ResourceNotFoundException", "ddbTableName"),
            ("builder error: URL scheme is not allowed", "allow_http"),
            (
                "Failed to get AWS credentials: CredentialsNotLoaded",
                "identity",
            ),
        ] {
            let words = in_words(text);
            assert!(words.contains(part), "{text}: {words}");
            assert!(words.contains(text), "{text}: {words}");
        }
        assert_eq!(in_words("something\n else"), "something else");
        let source = "Invalid symbol 33, /a/lance-io/src/providers/azure.rs:200:21";
        assert_eq!(in_words(source), "Invalid symbol 33");
        let long = format!("asked {} answered", "é".repeat(1_000));
        let told = in_words(&long);
        assert!(told.starts_with("asked é") && told.ends_with("é answered"));
        assert_eq!(told.chars().count(), 150 + 3 + 250);
    }

    #[test]
    fn the_password_of_an_address_is_found() {
        for (address, password) in [
            ("http://user:pass@host:9000/path", Some("pass")),
            ("https://user:p%40ss@host", Some("p%40ss")),
            ("http://user@host", None),
            ("http://host:9000/a:b@c", None),
            ("eu-central-1", None),
        ] {
            assert_eq!(password_in(address), password, "{address}");
        }
    }
}

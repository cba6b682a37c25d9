//! What the errors of an object store mean to whoever runs the server, and what to
//! do about them. The stores say it in texts and codes of their own.

use std::{error::Error as StdError, io};

use secrecy::ExposeSecret;

use super::ObjectError;
use crate::config::Location;

/// What may be wrong where nothing answers.
pub(super) const SILENT: &str = "Check the endpoint and that the network lets it be reached. Without credentials in storage_options or the environment, the instance's metadata service is asked for them, which answers on machines of a cloud only";

/// What to do, by what the texts of an error contain, in lower case. The first that
/// fits counts: what is more exact comes first.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &[
            "requesttimetooskewed",
            "request time too skewed",
            "clock skew",
        ],
        "this machine's clock differs from the store's: synchronise it (NTP)",
    ),
    (
        &[
            "signaturedoesnotmatch",
            "signature we calculated does not match",
            "mac signature found",
        ],
        "the secret key is wrong for this key id: check aws_secret_access_key or azure_storage_account_key (a _file option keeps no trailing newline but all else)",
    ),
    (
        &[
            "invalidaccesskeyid",
            "does not exist in our records",
            "invalidauthenticationinfo",
        ],
        "the store does not know this key id: check aws_access_key_id, and that the endpoint is the store that gave it",
    ),
    (
        &[
            "expiredtoken",
            "tokenrefreshrequired",
            "token is expired",
            "token has expired",
        ],
        "the credentials have expired: renew them",
    ),
    (
        &[
            "invalidtoken",
            "security token included in the request is invalid",
            "invalididentitytoken",
        ],
        "the session or identity token is not valid: check aws_session_token, or the web identity token file and role",
    ),
    (
        &[
            "nosuchbucket",
            "bucket does not exist",
            "containernotfound",
            "container does not exist",
            "specified bucket",
        ],
        "the bucket or container is not there: create it, or check its name, region and endpoint",
    ),
    (
        &[
            "permanentredirect",
            "authorizationheadermalformed",
            "without location, this normally indicates an incorrectly configured region",
            "illegallocationconstraint",
        ],
        "the bucket is in another region: set aws_region",
    ),
    (
        &["scheme is not allowed", "url scheme is not allowed"],
        "the address is http:// and TLS is required: use https://, or allow it with allow_http = \"true\"",
    ),
    (
        &[
            "invalidcertificate",
            "unknownissuer",
            "certificate verify failed",
            "invalid peer certificate",
        ],
        "the certificate of the endpoint is not trusted: add its authority to the system's certificates",
    ),
    (
        &[
            "invalidcontenttype",
            "corrupt message of type",
            "received corrupt message",
            "wrong version number",
        ],
        "the endpoint does not speak TLS: check its port, or write http:// and allow_http = \"true\"",
    ),
    (
        &[
            "failed to get aws credentials",
            "no providers in chain",
            "credentialsnotloaded",
            "missing account",
            "metadata.google.internal",
            "169.254.169.254",
            "no credentials",
            "nocredentials",
            "missingaccesskey",
            "token request",
            "metadata token",
        ],
        "no credentials were found: put them into storage_options (keys, or _file options), into the environment, or give the machine or pod an identity",
    ),
    (
        &[
            "dns error",
            "failed to lookup address",
            "name or service not known",
        ],
        "the name of the endpoint cannot be resolved: check it",
    ),
    (
        &[
            "connection refused",
            "error trying to connect",
            "tcp connect error",
            "network is unreachable",
            "no route to host",
            "notconnected",
        ],
        "the endpoint cannot be reached: check its address and port, and that the store is running",
    ),
    (
        &["operation timed out", "timed out", "deadline has elapsed"],
        SILENT,
    ),
    (
        &["accountnotfound", "accountisdisabled"],
        "the storage account is not there or disabled: check azure_storage_account_name",
    ),
    (
        &[
            "accessdenied",
            "access denied",
            "authorizationpermissionmismatch",
            "authorizationfailure",
            "does not have storage.",
            "403 forbidden",
            "allaccessdisabled",
        ],
        "the credentials are not allowed to do this: give them the right to list, read, write and delete below the prefix (S3: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject; GCS: Storage Object Admin; Azure: Storage Blob Data Contributor)",
    ),
    (
        &["kms", "keyunavailable", "disabledexception"],
        "the encryption key cannot be used: check aws_sse_kms_key_id and the rights on it (kms:GenerateDataKey, kms:Decrypt)",
    ),
    (
        &[
            "401 unauthorized",
            "unauthenticated",
            "invalid credentials",
            "invalid_grant",
        ],
        "the credentials are missing or wrong: put valid ones into storage_options or the environment",
    ),
    (
        &["404 not found"],
        "the endpoint answers but has no such bucket or path: check the bucket's name, and whether the address must end otherwise (virtual_hosted_style_request)",
    ),
    (
        &["not implemented", "notimplemented", "501"],
        "the store does not know this operation",
    ),
];

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

/// One line that a person reads to its end.
fn shortened(text: &str) -> String {
    const MOST: usize = 400;
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text without any value of the location's options that may be a secret. No
/// store is known to repeat one, and nobody can promise it for all.
pub fn redacted(text: &str, location: &Location) -> String {
    let mut text = text.to_owned();
    for (key, value) in &location.storage_options {
        let key = key.to_ascii_lowercase();
        let value = value.expose_secret();
        let may_be_secret = ["key", "secret", "token", "password", "sas", "credential"];
        if value.len() >= 4 && may_be_secret.iter().any(|word| key.contains(word)) {
            text = text.replace(value, "…");
        }
        if let Some(password) = password_in(value) {
            text = text.replace(password, "…");
        }
    }
    text
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

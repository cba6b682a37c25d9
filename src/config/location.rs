//! Where a connection's data is: one spelling for each place, and its options.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Location, fault::Faults, raw};

/// Options that end in "_file" and are options of the object store all the
/// same, whose value is a path (object_store 0.14.2, `AmazonS3ConfigKey` and
/// `AzureConfigKey`).
const FILE_OPTIONS: [&str; 6] = [
    "aws_container_authorization_token_file",
    "container_authorization_token_file",
    "aws_web_identity_token_file",
    "web_identity_token_file",
    "azure_federated_token_file",
    "federated_token_file",
];

/// Options that make the same URI another place: the server behind it.
const SERVER_OPTIONS: [&str; 13] = [
    "aws_endpoint",
    "aws_endpoint_url",
    "endpoint",
    "endpoint_url",
    "azure_storage_endpoint",
    "azure_endpoint",
    "azure_storage_account_name",
    "account_name",
    "google_base_url",
    "base_url",
    "aws_endpoint_url_s3",
    "azure_storage_use_emulator",
    "use_emulator",
];

/// Options that are the address of a server, besides those of `SERVER_OPTIONS`.
const OTHER_ADDRESSES: [&str; 1] = ["dynamodb_endpoint"];

/// Options that allow addresses without TLS.
const ALLOW_HTTP: [&str; 3] = ["allow_http", "aws_allow_http", "azure_allow_http"];

impl Location {
    /// What names the server behind the URI, with the account there: two locations
    /// of the same URI and other servers are two places.
    pub fn server(&self) -> String {
        server(&self.storage_options)
    }

    /// Whether it is on the local disk.
    pub fn is_local(&self) -> bool {
        self.uri.starts_with("file:")
    }

    /// Whether versions are committed by DynamoDB, since the object store cannot.
    pub fn commits_elsewhere(&self) -> bool {
        self.uri.starts_with("s3+ddb:")
    }
}

/// The URI as LanceDB is to see it.
///
/// A local path becomes a `file` URI: LanceDB takes a relative path that begins
/// with "db" for its cloud, and drops the options of plain paths.
pub(super) fn canonical(uri: &str) -> Result<String, String> {
    match uri.split_once("://") {
        _ if uri.trim().is_empty() => Err("is empty: write a path or a URI".into()),
        None => local(Path::new(uri)),
        Some(("file", _)) => {
            let url = parse(uri)?;
            let path = url.to_file_path();
            local(&path.map_err(|()| "must be file:///absolute/path, without a host")?)
        }
        Some((scheme, _)) => remote(scheme, &parse(uri)?),
    }
}

fn parse(uri: &str) -> Result<Url, String> {
    Url::parse(uri).map_err(|error| format!("is not a URI: {error}"))
}

fn local(path: &Path) -> Result<String, String> {
    if path.starts_with("~") {
        return Err("~ is not expanded: write the whole path".into());
    }
    let absolute =
        std::path::absolute(path).map_err(|error| format!("has no absolute path: {error}"))?;
    if absolute.to_str().is_none() {
        return Err("must be UTF-8".into());
    }
    let url = Url::from_file_path(plain(&absolute)).map_err(|()| "has no file URI")?;
    Ok(url.into())
}

/// Without "." and "..", as they would be read in a URI.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn remote(scheme: &str, url: &Url) -> Result<String, String> {
    let (feature, built) = match scheme {
        "s3" | "s3+ddb" => ("aws", cfg!(feature = "aws")),
        "gs" => ("gcs", cfg!(feature = "gcs")),
        "az" => ("azure", cfg!(feature = "azure")),
        _ => {
            return Err(
                "must be a path, a file, s3, s3+ddb, gs or az URI, or grpc://host:port".into(),
            );
        }
    };
    if !built {
        return Err(format!(
            "{scheme} needs a lancegate built with the feature {feature}"
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no bucket: write {scheme}://bucket/path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials: put them into storage_options".into());
    }
    let is_dynamo_table = |(key, _): (std::borrow::Cow<'_, str>, _)| key == "ddbTableName";
    let query_fits = match scheme {
        "s3+ddb" => url.query_pairs().count() == 1 && url.query_pairs().all(is_dynamo_table),
        _ => url.query().is_none(),
    };
    if !query_fits || url.fragment().is_some() {
        return Err(match scheme {
            "s3+ddb" => "must be s3+ddb://bucket/path?ddbTableName=table".into(),
            _ => "must have no query and no fragment (? or #)".into(),
        });
    }
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').to_string();
    url.set_path(&path);
    Ok(url.into())
}

/// What two spellings of one place have in common.
pub(super) fn identity(uri: &str, options: &BTreeMap<String, SecretString>) -> String {
    let Ok(mut url) = Url::parse(uri) else {
        return uri.to_string();
    };
    if let Ok(path) = url.to_file_path() {
        return real_path(&path).display().to_string();
    }
    url.set_query(None);
    let place = url.as_str().replacen("s3+ddb://", "s3://", 1);
    format!("{place} {}", server(options))
}

fn server(options: &BTreeMap<String, SecretString>) -> String {
    let server: Vec<&str> = options
        .iter()
        .filter(|(key, _)| SERVER_OPTIONS.contains(&key.to_ascii_lowercase().as_str()))
        .map(|(_, value)| value.expose_secret().trim_end_matches('/'))
        .collect();
    server.join(" ")
}

/// Addresses without TLS are faults unless they are allowed in words: what goes
/// there, data and keys, can be read by anybody on the way. So are addresses with a
/// password in them, which errors of the store's client would tell.
pub(super) fn fit_addresses(
    path: &str,
    options: &BTreeMap<String, SecretString>,
    faults: &mut Faults,
) {
    let lower = |key: &str| key.to_ascii_lowercase();
    let is_allowed = options.iter().any(|(key, value)| {
        ALLOW_HTTP.contains(&lower(key).as_str())
            && matches!(
                lower(value.expose_secret()).as_str(),
                "true" | "1" | "on" | "yes" | "y"
            )
    });
    for (key, value) in options {
        let is_address = SERVER_OPTIONS.contains(&lower(key).as_str())
            || OTHER_ADDRESSES.contains(&lower(key).as_str());
        if !is_address {
            continue;
        }
        let setting = || format!("{path}.storage_options.{key}");
        if !is_allowed && lower(value.expose_secret()).starts_with("http://") {
            let problem = "is an address without TLS (http://): use https://, or allow it with allow_http = \"true\"";
            faults.push(setting(), problem);
        }
        let url = Url::parse(value.expose_secret());
        if url.is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            let problem =
                "must not have a user or a password in it: credentials have options of their own";
            faults.push(setting(), problem);
        }
    }
}

/// With links resolved as far as the path exists.
fn real_path(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path.to_path_buf()
}

/// The options of a location, and the files that some of them were read from.
pub(super) type Options = (BTreeMap<String, SecretString>, BTreeMap<String, PathBuf>);

/// The options, with those of `<name>_file` read from their files.
pub(super) fn storage_options(
    path: &str,
    options: &BTreeMap<String, raw::StorageOption>,
    faults: &mut Faults,
) -> Options {
    let (mut read, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (key, raw::StorageOption(value)) in options {
        let at = format!("{path}.storage_options.{key}");
        let lower = key.to_ascii_lowercase();
        let name = match lower.strip_suffix("_file") {
            Some(name) if !FILE_OPTIONS.contains(&lower.as_str()) => &key[..name.len()],
            _ => {
                read.insert(key.clone(), value.clone());
                continue;
            }
        };
        if options.keys().any(|other| other.eq_ignore_ascii_case(name)) {
            faults.push(at, format!("is given twice: here and as {name}"));
        } else {
            let file = Path::new(value.expose_secret());
            if let Some(value) = faults.ok(&at, read_secret(file)) {
                read.insert(name.to_string(), value);
                files.insert(name.to_string(), file.to_owned());
            }
        }
    }
    (read, files)
}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn read_secret(file: &Path) -> Result<SecretString, String> {
    // The name is not quoted: it may be the secret itself, put into the wrong key.
    let text =
        fs::read_to_string(file).map_err(|error| format!("the file cannot be read: {error}"))?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err("the file is empty".into());
    }
    Ok(SecretString::from(value))
}

#[cfg(test)]
mod tests;

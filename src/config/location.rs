//! Where a connection's data is: one spelling for each place, and its options.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{fault::Faults, raw};

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
const SERVER_OPTIONS: [&str; 11] = [
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
];

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
    let server: Vec<&str> = options
        .iter()
        .filter(|(key, _)| SERVER_OPTIONS.contains(&key.to_ascii_lowercase().as_str()))
        .map(|(_, value)| value.expose_secret().trim_end_matches('/'))
        .collect();
    format!("{place} {}", server.join(" "))
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

/// The options, with those of `<name>_file` read from their files.
pub(super) fn storage_options(
    path: &str,
    options: &BTreeMap<String, raw::StorageOption>,
    faults: &mut Faults,
) -> BTreeMap<String, SecretString> {
    let mut read = BTreeMap::new();
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
        } else if let Some(value) = faults.ok(&at, read_secret(value.expose_secret())) {
            read.insert(name.to_string(), value);
        }
    }
    read
}

fn read_secret(file: &str) -> Result<SecretString, String> {
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
mod tests {
    use super::*;

    #[test]
    fn local_paths_become_absolute_file_uris() {
        let here = std::env::current_dir().unwrap();
        let expected = Url::from_file_path(here.join("db/x")).unwrap().to_string();
        assert_eq!(canonical("db/x"), Ok(expected.clone()));
        assert_eq!(canonical("./y/../db/./x/"), Ok(expected));
        assert_eq!(
            canonical("/data/a b/100%/é#1"),
            Ok("file:///data/a%20b/100%25/%C3%A9%231".into())
        );
        assert_eq!(
            canonical("file:///data/a%20b/"),
            Ok("file:///data/a%20b".into())
        );
    }

    #[cfg(all(feature = "aws", feature = "gcs", feature = "azure"))]
    #[test]
    fn object_stores_are_taken() {
        assert_eq!(canonical("s3://bucket/a/"), Ok("s3://bucket/a".into()));
        assert_eq!(canonical("gs://bucket"), Ok("gs://bucket".into()));
        assert_eq!(canonical("az://container/a"), Ok("az://container/a".into()));
        let dynamo = "s3+ddb://bucket/a?ddbTableName=locks";
        assert_eq!(canonical(dynamo), Ok(dynamo.into()));
    }

    #[test]
    fn wrong_locations_say_what_would_be_right() {
        for (uri, part) in [
            ("", "is empty"),
            ("~/data", "whole path"),
            ("db://mydb", "must be a path"),
            ("memory://x", "must be a path"),
            ("file://host/x", "without a host"),
            #[cfg(feature = "aws")]
            ("s3://", "names no bucket"),
            #[cfg(feature = "aws")]
            ("s3://key:hunter2@bucket/x", "storage_options"),
            #[cfg(feature = "aws")]
            ("s3://bucket/x?engine=ddb", "no query"),
            #[cfg(feature = "aws")]
            ("s3+ddb://bucket/x", "ddbTableName"),
            #[cfg(not(feature = "aws"))]
            ("s3://bucket/x", "feature aws"),
            #[cfg(not(feature = "gcs"))]
            ("gs://bucket/x", "feature gcs"),
            #[cfg(not(feature = "azure"))]
            ("az://bucket/x", "feature azure"),
        ] {
            let problem = canonical(uri).unwrap_err();
            assert!(problem.contains(part), "{uri}: {problem}");
            assert!(!problem.contains("hunter2"));
        }
    }

    #[test]
    fn one_place_has_one_identity() {
        let none = BTreeMap::new();
        let minio = BTreeMap::from([(
            "aws_endpoint".to_string(),
            SecretString::from("http://minio:9000"),
        )]);
        assert_eq!(
            identity("s3+ddb://b/x?ddbTableName=t", &none),
            identity("s3://b/x", &none)
        );
        assert_ne!(identity("s3://b/x", &minio), identity("s3://b/x", &none));

        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        let of = |name: &str| {
            identity(
                &canonical(folder.path().join(name).to_str().unwrap()).unwrap(),
                &none,
            )
        };
        assert_eq!(of("link/new"), of("real/new"));
        assert_ne!(of("real/new"), of("real"));
    }
}

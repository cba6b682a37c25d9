//! Locations as they are written.

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
fn addresses_have_tls_or_are_allowed_and_have_no_password() {
    let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, SecretString> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), SecretString::from(*v)))
            .collect()
    };
    let faults = |pairs: &[(&str, &str)]| {
        let mut faults = Faults::default();
        fit_addresses("primary", &options(pairs), &mut faults);
        faults
            .finish(Some(()), |_| None)
            .err()
            .map(|e| e.to_string())
    };
    for key in [
        "aws_endpoint",
        "AWS_ENDPOINT_URL",
        "google_base_url",
        "azure_endpoint",
    ] {
        let found = faults(&[(key, "HTTP://store:9000")]).unwrap_or_default();
        assert!(
            found.contains(&format!("primary.storage_options.{key}")),
            "{found}"
        );
        assert!(found.contains("allow_http"), "{found}");
        assert_eq!(faults(&[(key, "https://store:9000")]), None);
        assert_eq!(faults(&[(key, "http://s"), ("allow_http", "true")]), None);
    }
    assert!(faults(&[("endpoint", "http://s"), ("allow_http", "false")]).is_some());
    assert!(faults(&[("dynamodb_endpoint", "http://s")]).is_some());
    // Errors of the store's client tell its address.
    for with_credentials in ["https://user:hunter2@store:9000", "https://hunter2@store"] {
        let found = faults(&[("aws_endpoint", with_credentials)]).unwrap_or_default();
        assert!(found.contains("password"), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
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

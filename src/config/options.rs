//! Options of object stores that would be passed over without a word. Their clients do so
//! with what they do not know, and a key that is misspelt would be one that is missing.

use std::collections::BTreeMap;

#[cfg(feature = "aws")]
use object_store::aws::AmazonS3ConfigKey;
#[cfg(feature = "azure")]
use object_store::azure::AzureConfigKey;
#[cfg(feature = "gcs")]
use object_store::gcp::GoogleConfigKey;
use secrecy::{ExposeSecret, SecretString};

use super::fault::Faults;

/// Options that Lance's client for S3 passes over: it finds these credentials by the
/// environment variables of the same names.
const ENVIRONMENT_ONLY: [&str; 12] = [
    "aws_web_identity_token_file",
    "web_identity_token_file",
    "aws_role_arn",
    "role_arn",
    "aws_role_session_name",
    "role_session_name",
    "aws_container_authorization_token_file",
    "container_authorization_token_file",
    "aws_container_credentials_relative_uri",
    "aws_container_credentials_full_uri",
    "aws_metadata_endpoint",
    "aws_endpoint_url_sts",
];

/// Options that Lance reads as whole numbers, and passes over where they are none
/// (lance-io 14.0.2, `StorageOptions`).
const NUMBERS: [&str; 4] = [
    "client_max_retries",
    "client_retry_timeout",
    "download_retry_count",
    "block_size",
];

/// Those that Lance and LanceDB take themselves (lance-io 14.0.2, lancedb 0.41.0).
const OF_LANCE: [&str; 6] = [
    "aws_provider_scheme",
    "dynamodb_endpoint",
    "google_storage_token",
    "new_table_data_storage_version",
    "new_table_enable_v2_manifest_paths",
    "new_table_enable_stable_row_ids",
];

/// Options of the stores' clients that are times (object_store 0.14.2, `ClientConfigKey`),
/// without the name of a cloud before them.
const TIMES: [&str; 6] = [
    "timeout",
    "connect_timeout",
    "read_timeout",
    "pool_idle_timeout",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
];

/// How others of theirs begin.
const PREFIXES: [&str; 2] = ["headers.", "lance_aimd_"];

/// Has another client for the same stores, with options of its own.
const OTHER_CLIENT: &str = "use_opendal";

/// Options that would have no effect are faults.
pub(super) fn heeded(
    path: &str,
    uri: &str,
    options: &BTreeMap<String, SecretString>,
    faults: &mut Faults,
) {
    let scheme = uri.split(':').next().unwrap_or_default();
    let is_ours = !options
        .keys()
        .any(|key| key.eq_ignore_ascii_case(OTHER_CLIENT));
    for (key, value) in options {
        let lower = key.to_ascii_lowercase();
        if let Some(problem) = problem(scheme, &lower, value.expose_secret(), is_ours) {
            faults.push(format!("{path}.storage_options.{key}"), problem);
        }
    }
}

fn problem(scheme: &str, key: &str, value: &str, is_ours: bool) -> Option<String> {
    if NUMBERS.contains(&key) && value.parse::<usize>().is_err() {
        return Some("must be a whole number".into());
    }
    let clouds = ["aws_", "azure_", "google_"];
    let plain = clouds.iter().find_map(|cloud| key.strip_prefix(cloud));
    let is_time = TIMES.contains(&plain.unwrap_or(key));
    if is_time && humantime::parse_duration(value).is_err() {
        return Some("must be a time such as 30s".into());
    }
    if scheme.starts_with("s3") && ENVIRONMENT_ONLY.contains(&key) {
        let name = key.strip_prefix("aws_").unwrap_or(key).to_ascii_uppercase();
        return Some(format!(
            "has no effect here: set the environment variable AWS_{name}"
        ));
    }
    let is_known = NUMBERS.contains(&key)
        || OF_LANCE.contains(&key)
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || is_of(scheme, key);
    (is_ours && !is_known).then(|| format!("is no option of {scheme}:// stores"))
}

fn is_of(scheme: &str, key: &str) -> bool {
    match scheme {
        #[cfg(feature = "aws")]
        "s3" | "s3+ddb" => key.parse::<AmazonS3ConfigKey>().is_ok(),
        #[cfg(feature = "azure")]
        "az" => key.parse::<AzureConfigKey>().is_ok(),
        #[cfg(feature = "gcs")]
        "gs" => key.parse::<GoogleConfigKey>().is_ok(),
        // A local folder has none, and other stores are refused for what they are.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(uri: &str, options: &[(&str, &str)]) -> String {
        let options = options.iter();
        let options = options.map(|(k, v)| ((*k).to_owned(), SecretString::from(*v)));
        let mut faults = Faults::default();
        heeded("primary", uri, &options.collect(), &mut faults);
        let ended = faults.finish(Some(()), |_| None);
        ended.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_that_lance_would_pass_over_are_faults() {
        for key in ["client_max_retries", "Client_Retry_Timeout"] {
            for value in ["many", "-1", "1.5", ""] {
                let found = faults("az://c/x", &[(key, value)]);
                let named = format!("primary.storage_options.{key}");
                assert!(
                    found.contains(&named) && found.contains("number"),
                    "{found}"
                );
            }
            assert_eq!(faults("az://c/x", &[(key, "0")]), "");
        }
        for key in ["timeout", "aws_connect_timeout", "pool_idle_timeout"] {
            let found = faults("s3://b/x", &[(key, "soon")]);
            let named = format!("primary.storage_options.{key}");
            assert!(found.contains(&named) && found.contains("30s"), "{found}");
            assert_eq!(faults("s3://b/x", &[(key, "1m 30s")]), "");
        }
        let found = faults("s3://b/x", &[("aws_role_arn", "r")]);
        assert!(found.contains("AWS_ROLE_ARN"), "{found}");
    }

    #[cfg(all(feature = "aws", feature = "azure", feature = "gcs"))]
    #[test]
    fn what_is_misspelt_is_found_and_what_is_not_is_not() {
        for (uri, keys) in [
            (
                "s3://b",
                &[
                    "aws_region",
                    "AWS_Endpoint",
                    "region",
                    "aws_allow_http",
                    "timeout",
                    "aws_server_side_encryption",
                    "aws_sse_kms_key_id",
                    "virtual_hosted_style_request",
                    "lance_aimd_max_rate",
                    "headers.x-tenant",
                ][..],
            ),
            ("s3+ddb://b", &["dynamodb_endpoint"]),
            (
                "az://c",
                &[
                    "azure_storage_account_name",
                    "azure_federated_token_file",
                    "azure_msi_endpoint",
                    "connect_timeout",
                ],
            ),
            ("az://c", &["use_opendal", "encryption_key"]),
            (
                "gs://b",
                &[
                    "google_base_url",
                    "google_application_credentials",
                    "google_storage_token",
                ],
            ),
            ("file:///a", &["anything"]),
        ] {
            let options: Vec<_> = keys.iter().map(|key| (*key, "1s")).collect();
            assert_eq!(faults(uri, &options), "", "{uri}");
        }
        for (uri, key) in [
            ("s3://b", "aws_regoin"),
            ("s3+ddb://b", "aws_secret_acess_key"),
            ("az://c", "aws_region"),
            ("gs://b", "google_service_acount"),
        ] {
            let found = faults(uri, &[(key, "hunter2"), ("timeout", "1s")]);
            let named = format!("primary.storage_options.{key}: is no option of");
            assert!(found.contains(&named), "{found}");
            assert!(
                !found.contains("hunter2") && !found.contains("timeout"),
                "{found}"
            );
        }
    }
}

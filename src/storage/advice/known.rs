//! What stores are known to say, and what to do then.

/// What may be wrong where nothing answers.
pub(in crate::storage) const SILENT: &str = "Check the endpoint and that the network lets it be reached. Without credentials in storage_options or the environment, the instance's metadata service is asked for them, which answers on machines of a cloud only";

/// What to do, by what the texts of an error contain, in lower case. The first that
/// fits counts: what is more exact comes first.
pub(super) const ADVICE: &[(&[&str], &str)] = &[
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
            "failed to authenticate the request",
        ],
        "the secret key is wrong for this key id, or a token or SAS is none that counts: check aws_secret_access_key or azure_storage_account_key (a _file option keeps no trailing newline but all else)",
    ),
    (
        &["invalid access key"],
        "azure_storage_account_key is no base64: copy it as it is shown, whole",
    ),
    (
        &["service account file"],
        "the file of google_application_credentials or google_service_account cannot be used: check its path, and that this user may read it",
    ),
    (
        &["resourcenotfoundexception"],
        "the DynamoDB table is not there: create the one of ddbTableName with the keys base_uri (a string) and version (a number), where dynamodb_endpoint and aws_region say",
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
            "authenticationrequired",
            "invalidtoken",
            "security token included in the request is invalid",
            "invalididentitytoken",
        ],
        "the session or identity token is not valid: check aws_session_token or google_storage_token, or the web identity token file and role",
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
        &["timedout", "timed out", "deadline has elapsed"],
        "the store did not answer in time: check the endpoint, that the network lets it be reached, and timeout and connect_timeout among storage_options. Without credentials in storage_options or the environment, the instance's metadata service is asked for them, which answers on machines of a cloud only",
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
        &["not implemented", "notimplemented"],
        "the store does not know this operation",
    ),
];

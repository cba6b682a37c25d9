//! Of which kind a request is, by its method, and how important, by its metadata.

use http::HeaderMap;

use crate::{
    admission::{Kind, Priority},
    domain::Error,
};

/// `interactive`, which is the default, or `batch`.
pub const PRIORITY: &str = "x-lancegate-priority";

/// The kind of a method and, where its time tells of the machine's load, its
/// number among those. What writes, streams, or works on whole tables lasts: its
/// time is that of its client, of its lane, or of the table's size.
pub(super) fn kind_of(path: &str) -> (Kind, Option<u8>) {
    let (service, method) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or(("", path));
    match service {
        "lancegate.v1.SearchService" => match method {
            "Search" => (Kind::Read, Some(0)),
            "Scan" => (Kind::Read, Some(1)),
            "Get" => (Kind::Read, Some(2)),
            "Count" => (Kind::Read, Some(3)),
            "SearchStream" => (Kind::Lasting, None),
            _ => (Kind::Read, None),
        },
        "lancegate.v1.TableService" => match method {
            "ListTables" | "DescribeTable" | "ListIndexes" | "ListVersions" | "ListTags" => {
                (Kind::Read, None)
            }
            _ => (Kind::Lasting, None),
        },
        "lancegate.v1.WriteService" => (Kind::Lasting, None),
        "lancegate.v1.ClusterService" => (Kind::Admin, None),
        // A stream, so that it never takes the place of reads or of an operator.
        _ if service.starts_with("grpc.reflection.") => (Kind::Lasting, None),
        // There is no such method, and to say so is quick.
        _ => (Kind::Read, None),
    }
}

/// How important the client says that its request is.
pub(super) fn priority(headers: &HeaderMap) -> Result<Priority, Error> {
    let Some(value) = headers.get(PRIORITY) else {
        return Ok(Priority::default());
    };
    let known = value.to_str().ok().and_then(Priority::parse);
    known.ok_or_else(|| Error::invalid(PRIORITY, "must be interactive or batch"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::admission::Signal;

    #[test]
    fn methods_have_their_kinds() {
        for (path, kind, is_signal) in [
            ("/lancegate.v1.SearchService/Search", Kind::Read, true),
            ("/lancegate.v1.SearchService/Count", Kind::Read, true),
            ("/lancegate.v1.SearchService/Explain", Kind::Read, false),
            (
                "/lancegate.v1.SearchService/SearchStream",
                Kind::Lasting,
                false,
            ),
            ("/lancegate.v1.WriteService/Import", Kind::Lasting, false),
            (
                "/lancegate.v1.TableService/CreateIndex",
                Kind::Lasting,
                false,
            ),
            ("/lancegate.v1.TableService/ListTables", Kind::Read, false),
            (
                "/lancegate.v1.ClusterService/GetTopology",
                Kind::Admin,
                false,
            ),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Kind::Lasting,
                false,
            ),
            ("/", Kind::Read, false),
            ("", Kind::Read, false),
        ] {
            let (found, signal) = kind_of(path);
            assert_eq!((found, signal.is_some()), (kind, is_signal), "{path}");
            // Twice as many are needed: see the permit.
            assert!(signal.is_none_or(|s| Signal::new(s + 4).is_some()));
        }
    }

    #[test]
    fn a_priority_is_a_known_one_or_an_error() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PRIORITY, HeaderValue::from_static(value));
            priority(&headers)
        };
        assert_eq!(priority(&HeaderMap::new()), Ok(Priority::Interactive));
        assert_eq!(of("batch"), Ok(Priority::Batch));
        assert_eq!(of("interactive"), Ok(Priority::Interactive));
        for bad in ["Batch", "", "admin", "batch,interactive"] {
            assert!(matches!(of(bad), Err(Error::Invalid(_))), "{bad}");
        }
    }
}

//! What can be forwarded, and where in its messages the few things are that the
//! way depends on. All of it is read from the contract's own descriptors, so that
//! a method that is added there is known here.

use std::collections::HashMap;

use prost::Message;
use prost_types::{
    DescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::proto::DESCRIPTORS;

/// The contract's package.
const PACKAGE: &str = "lancegate.v1";

/// The reads that need the primary: they write a pin there.
const SESSIONS: [&str; 3] = ["OpenSession", "RenewSession", "CloseSession"];

/// How the names of methods begin that change nothing which a second call would
/// change again. A session that nobody was told of expires.
const READ_ONLY: [&str; 11] = [
    "Search",
    "Scan",
    "Get",
    "Count",
    "Explain",
    "List",
    "Describe",
    "WaitFor",
    "OpenSession",
    "RenewSession",
    "CloseSession",
];

/// Where a method's requests may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Any node; one message each way.
    Read,
    /// Any node; many messages are the answer.
    ReadStream,
    /// The primary; one message each way.
    Primary,
    /// The primary; many messages are the request.
    PrimaryStream,
}

impl Sort {
    /// Whether it is a read that any node can answer.
    pub(super) fn is_read(self) -> bool {
        matches!(self, Sort::Read | Sort::ReadStream)
    }
}

/// One method. The numbers are those of fields, where its messages have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pub sort: Sort,
    /// Whether it is the one whose answers are compared with those of others.
    pub is_search: bool,
    /// Of the request: which table.
    pub table: Option<u32>,
    /// Of the request: how fresh the answer must be.
    pub freshness: Option<u32>,
    /// Of the request: which page, of which version.
    pub page_token: Option<u32>,
    /// Of the request: what a repeat is known by.
    pub request_id: Option<u32>,
    /// Of the answer: who answered.
    pub served: Option<u32>,
    /// Whether it changes anything. What does not can be asked again.
    pub changes: bool,
}

/// Every method that can be forwarded, by its path.
#[derive(Debug)]
pub(super) struct Methods(HashMap<String, Method>);

impl Methods {
    /// Those of the contract.
    ///
    /// # Errors
    /// The descriptors that were compiled in are none.
    pub(super) fn of_contract() -> Result<Self, prost::DecodeError> {
        let files = FileDescriptorSet::decode(DESCRIPTORS)?.file;
        let files: Vec<_> = files.iter().filter(|f| f.package() == PACKAGE).collect();
        let messages: HashMap<&str, &DescriptorProto> = files
            .iter()
            .flat_map(|file| &file.message_type)
            .map(|message| (message.name(), message))
            .collect();
        let mut methods = HashMap::new();
        for service in files.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let Some(sort) = sort(service.name(), method) else {
                    continue;
                };
                let request = messages.get(local_name(method.input_type()));
                let answer = messages.get(local_name(method.output_type()));
                let of = |message: Option<&&DescriptorProto>, name, kind| {
                    message.and_then(|m| number(m, name, kind))
                };
                let path = format!("/{PACKAGE}.{}/{}", service.name(), method.name());
                let found = Method {
                    sort,
                    is_search: service.name() == "SearchService" && method.name() == "Search",
                    table: of(request, "table", Type::String),
                    freshness: of(request, "freshness", Type::Message),
                    page_token: of(request, "page_token", Type::String),
                    request_id: of(request, "request_id", Type::String),
                    served: of(answer, "served", Type::Message),
                    changes: !READ_ONLY.iter().any(|p| method.name().starts_with(p)),
                };
                methods.insert(path, found);
            }
        }
        Ok(Self(methods))
    }

    /// The method of a path; `None` for what is never forwarded.
    pub(super) fn get(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }
}

fn sort(service: &str, method: &MethodDescriptorProto) -> Option<Sort> {
    let name = method.name();
    match service {
        "SearchService" if SESSIONS.contains(&name) => Some(Sort::Primary),
        "SearchService" if method.server_streaming() => Some(Sort::ReadStream),
        "SearchService" => Some(Sort::Read),
        "WriteService" | "TableService" if method.client_streaming() => Some(Sort::PrimaryStream),
        "WriteService" | "TableService" => Some(Sort::Primary),
        // The copies are the primary's to make; all else there is about this process.
        "ClusterService" if name == "RebuildReplica" => Some(Sort::Primary),
        _ => None,
    }
}

fn local_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

/// The number of a field that is there once.
fn number(message: &DescriptorProto, name: &str, kind: Type) -> Option<u32> {
    let field = message.field.iter().find(|field| field.name() == name)?;
    let fits = field.r#type() == kind && field.label() != Label::Repeated;
    fits.then(|| u32::try_from(field.number()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_known_and_every_answer_says_who_served_it() {
        let methods = Methods::of_contract().unwrap();
        let mut reads = Vec::new();
        for (path, method) in &methods.0 {
            let rebuild = path.ends_with("/RebuildReplica");
            assert_eq!(method.served.is_none(), rebuild, "{path}");
            let is_write = path.contains("WriteService");
            assert!(method.changes || !is_write, "{path}");
            if method.sort.is_read() {
                assert!(
                    method.table.is_some() && method.freshness.is_some(),
                    "{path}"
                );
                reads.push(path.rsplit('/').next().unwrap());
            }
        }
        reads.sort_unstable();
        let expected = ["Count", "Explain", "Get", "Scan", "Search", "SearchStream"];
        assert_eq!(reads, expected);
        let of = |path: &str| methods.get(&format!("/lancegate.v1.{path}")).copied();
        let scan = of("SearchService/Scan").unwrap();
        assert_eq!(
            (scan.freshness, scan.page_token, scan.served),
            (Some(6), Some(4), Some(4))
        );
        let searches = methods.0.values().filter(|method| method.is_search);
        assert_eq!(searches.count(), 1);
        assert!(of("SearchService/Search").unwrap().is_search);
        assert_eq!(
            of("SearchService/SearchStream").unwrap().sort,
            Sort::ReadStream
        );
        assert_eq!(of("SearchService/OpenSession").unwrap().sort, Sort::Primary);
        assert_eq!(of("WriteService/Import").unwrap().sort, Sort::PrimaryStream);
        assert_eq!(of("TableService/DescribeTable").unwrap().served, Some(10));
        assert!(!of("TableService/DescribeTable").unwrap().changes);
        for write in ["Insert", "Upsert", "Update", "Delete"] {
            let write = of(&format!("WriteService/{write}")).unwrap();
            assert!(write.request_id.is_some());
        }
        assert!(of("TableService/OptimizeTable").unwrap().changes);
        assert_eq!(of("ClusterService/GetTopology"), None);
        assert!(methods.get("/grpc.health.v1.Health/Check").is_none());
    }
}

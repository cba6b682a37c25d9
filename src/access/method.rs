//! What a method needs, whatever table it is about.

use crate::config::AccessRole;

/// What somebody must be allowed to, to call a method at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever probes has no key.
    Nothing,
    /// This role on some table; which one is decided when the table is known.
    Role(AccessRole),
    /// To operate the whole server.
    Operator,
    /// To be let near the contract's own description.
    Reflection,
    /// To see plans.
    Explain,
}

/// What the method of a path needs. `None` for what is not listed here: nobody may
/// call it, whoever added it.
pub fn need(path: &str) -> Option<Need> {
    use AccessRole::{Admin, Reader, Writer};
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    Some(match service {
        "grpc.health.v1.Health" => Need::Nothing,
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            Need::Reflection
        }
        "lancegate.v1.SearchService" => match method {
            "Search" | "SearchStream" | "Scan" | "Get" | "Count" => Need::Role(Reader),
            "OpenSession" | "RenewSession" | "CloseSession" => Need::Role(Reader),
            "Explain" => Need::Explain,
            _ => return None,
        },
        "lancegate.v1.WriteService" => match method {
            "Insert" | "Upsert" | "Update" | "Delete" | "Import" => Need::Role(Writer),
            _ => return None,
        },
        "lancegate.v1.TableService" => match method {
            "ListTables" | "DescribeTable" | "ListIndexes" | "WaitForIndexes" | "ListVersions"
            | "ListTags" => Need::Role(Reader),
            "CreateTable" | "DropTable" | "OptimizeTable" | "CreateIndex" | "DropIndex"
            | "RestoreVersion" | "CreateTag" | "UpdateTag" | "DeleteTag" | "AddColumns"
            | "AlterColumns" | "DropColumns" => Need::Role(Admin),
            _ => return None,
        },
        "lancegate.v1.ClusterService" => match method {
            "GetTopology" | "WatchTopology" => Need::Role(Reader),
            "RebuildReplica"
            | "DrainConnection"
            | "UndrainConnection"
            | "EjectConnection"
            | "ProbeConnection"
            | "SetConnectionWeight"
            | "ReloadConfiguration" => Need::Operator,
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_for_nobody() {
        for path in [
            "",
            "/",
            "Search",
            "/lancegate.v1.SearchService/search",
            "/lancegate.v1.SearchService/Search/",
            "/lancegate.v1.SearchService/New",
            "/lancegate.v2.SearchService/Search",
            "//lancegate.v1.SearchService/Search",
            "/grpc.health.v1.Health2/Check",
        ] {
            assert_eq!(need(path), None, "{path}");
        }
        assert_eq!(need("/grpc.health.v1.Health/Check"), Some(Need::Nothing));
    }
}

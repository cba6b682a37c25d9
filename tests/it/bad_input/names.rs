//! Names of tables, columns, indexes, versions and tags that are not there, or
//! that are no names at all.

use lancegate::proto::v1::*;
use tonic::{Code, Response, Status};

use super::{Bad, Clients, filter, run, sample};
use crate::{
    data::{floats, ipc, ipc_bytes},
    place,
};

/// Every call that takes a table, with a request that is right but for its name.
const CALLS: &[&str] = &[
    "Search",
    "SearchStream",
    "Scan",
    "Get",
    "Count",
    "Explain",
    "Insert",
    "Upsert",
    "Update",
    "Delete",
    "Import",
    "CreateTable",
    "DropTable",
    "DescribeTable",
    "CreateIndex",
    "DropIndex",
    "ListIndexes",
    "WaitForIndexes",
    "OptimizeTable",
    "ListVersions",
    "RestoreVersion",
    "CreateTag",
    "UpdateTag",
    "DeleteTag",
    "ListTags",
    "AddColumns",
    "AlterColumns",
    "DropColumns",
];

fn query() -> Query {
    Query {
        vectors: vec![floats(&[0.0; 4])],
        limit: 1,
        ..Default::default()
    }
}

/// Sends an empty answer in the place of a real one.
macro_rules! sent {
    ($call:expr) => {
        $call.await.map(|answer| answer.map(|_| ()))
    };
}

async fn call(name: &str, table: &str, mut to: Clients) -> Result<Response<()>, Status> {
    let table = table.to_owned();
    let tag = Some(Tag {
        name: "a".into(),
        version: 1,
    });
    match name {
        "Search" => sent!(to.search.search(SearchRequest {
            freshness: None,
            table,
            query: Some(query()),
            row_format: 0,
        })),
        "SearchStream" => sent!(to.search.search_stream(SearchStreamRequest {
            freshness: None,
            table,
            query: Some(query()),
        })),
        "Scan" => sent!(to.search.scan(ScanRequest {
            table,
            ..Default::default()
        })),
        "Get" => sent!(to.search.get(GetRequest {
            table,
            key_columns: vec!["id".into()],
            keys: vec![Row {
                values: vec![Value {
                    kind: Some(value::Kind::IntValue(1)),
                }],
            }],
            ..Default::default()
        })),
        "Count" => sent!(to.search.count(CountRequest {
            freshness: None,
            table,
            filter: None,
        })),
        "Explain" => sent!(to.search.explain(ExplainRequest {
            table,
            target: Some(explain_request::Target::Query(query())),
            ..Default::default()
        })),
        "Insert" => sent!(to.write.insert(InsertRequest {
            request_id: String::new(),
            table,
            rows: Some(ipc(&sample())),
            mode: 0,
        })),
        "Upsert" => sent!(to.write.upsert(UpsertRequest {
            request_id: String::new(),
            table,
            on: vec!["id".into()],
            rows: Some(ipc(&sample())),
            ..Default::default()
        })),
        "Update" => sent!(to.write.update(UpdateRequest {
            request_id: String::new(),
            table,
            filter: None,
            assignments: vec![Assignment {
                column: "size".into(),
                to: Some(assignment::To::Expression("size + 1".into())),
            }],
        })),
        "Delete" => sent!(to.write.delete(DeleteRequest {
            request_id: String::new(),
            table,
            filter: Some(filter("id < 0", vec![])),
        })),
        "Import" => sent!(to.write.import(tokio_stream::iter([ImportRequest {
            request_id: String::new(),
            table,
            arrow_ipc: ipc_bytes(&sample()).into(),
            mode: 0,
        }]))),
        "CreateTable" => sent!(to.table.create_table(CreateTableRequest {
            table,
            source: Some(create_table_request::Source::Rows(ipc(&sample()))),
            exist_ok: true,
        })),
        "DropTable" => sent!(to.table.drop_table(DropTableRequest {
            table,
            ignore_missing: false,
        })),
        "DescribeTable" => sent!(to.table.describe_table(DescribeTableRequest { table })),
        "CreateIndex" => sent!(to.table.create_index(CreateIndexRequest {
            table,
            columns: vec!["id".into()],
            index: Some(IndexSpec {
                kind: Some(index_spec::Kind::Btree(BTreeIndex {})),
            }),
            ..Default::default()
        })),
        "DropIndex" => sent!(to.table.drop_index(DropIndexRequest {
            table,
            name: "i".into(),
        })),
        "ListIndexes" => sent!(to.table.list_indexes(ListIndexesRequest { table })),
        "WaitForIndexes" => sent!(to.table.wait_for_indexes(WaitForIndexesRequest {
            table,
            ..Default::default()
        })),
        "OptimizeTable" => sent!(to.table.optimize_table(OptimizeTableRequest {
            table,
            ..Default::default()
        })),
        "ListVersions" => sent!(to.table.list_versions(ListVersionsRequest {
            table,
            ..Default::default()
        })),
        "RestoreVersion" => sent!(to.table.restore_version(RestoreVersionRequest {
            table,
            target: Some(restore_version_request::Target::Version(1)),
        })),
        "CreateTag" => sent!(to.table.create_tag(CreateTagRequest { table, tag })),
        "UpdateTag" => sent!(to.table.update_tag(UpdateTagRequest { table, tag })),
        "DeleteTag" => sent!(to.table.delete_tag(DeleteTagRequest {
            table,
            name: "a".into(),
        })),
        "ListTags" => sent!(to.table.list_tags(ListTagsRequest { table })),
        "AddColumns" => sent!(to.table.add_columns(AddColumnsRequest {
            table,
            source: Some(computed("new", "id + 1")),
        })),
        "AlterColumns" => sent!(to.table.alter_columns(AlterColumnsRequest {
            table,
            alterations: vec![ColumnAlteration {
                path: "size".into(),
                rename: Some("bytes".into()),
                ..Default::default()
            }],
        })),
        "DropColumns" => sent!(to.table.drop_columns(DropColumnsRequest {
            table,
            columns: vec!["size".into()],
        })),
        other => panic!("no call {other}"),
    }
}

fn computed(name: &str, expression: &str) -> add_columns_request::Source {
    add_columns_request::Source::Computed(NewColumns {
        columns: vec![NewColumn {
            name: name.into(),
            expression: expression.into(),
        }],
    })
}

#[test]
fn bad_names_of_tables() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let long = "a".repeat(10_000);
        let up = format!("../{}", bad.server.folder.path().display());
        for (i, name) in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "a\\b",
            ".hidden",
            "a..b",
            "%2e%2e%2f",
            "a b",
            "a\tb",
            "a\nb",
            "a\0b",
            "täble",
            "表",
            "\u{202e}t",
            &long,
            &up,
        ]
        .into_iter()
        .enumerate()
        {
            for rpc in CALLS {
                let what = format!("{rpc} of bad name {i}");
                let ask = async |to: Clients| call(rpc, name, to).await;
                bad.refused(&what, Code::InvalidArgument, "table", ask)
                    .await;
            }
        }
        for rpc in CALLS.iter().filter(|rpc| **rpc != "CreateTable") {
            for name in ["nosuch", "t.lance", "T"] {
                let what = format!("{rpc} of {name}");
                let ask = async |to: Clients| call(rpc, name, to).await;
                bad.refused(&what, Code::NotFound, "TABLE_NOT_FOUND", ask)
                    .await;
            }
        }
        let folders = place::entries(&bad.server.folder.path().join("primary"))
            .into_iter()
            .map(|entry| entry.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name.ends_with(".lance"))
            .collect::<std::collections::BTreeSet<_>>();
        let expected = ["t.lance", "two.lance"].map(str::to_owned);
        assert_eq!(folders, expected.into(), "nothing was made of these names");
        bad.finish().await;
    });
}

#[test]
fn what_is_not_there() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let table = || "t".to_owned();
        for (what, query) in [
            (
                "a column to answer",
                Query {
                    columns: vec!["id".into(), "nosuch".into()],
                    ..query()
                },
            ),
            (
                "a child of a column to answer",
                Query {
                    columns: vec!["nosuch.x".into()],
                    ..query()
                },
            ),
            (
                "a vector column",
                Query {
                    vector_column: "nosuch".into(),
                    ..query()
                },
            ),
            (
                "a column of a full-text query",
                Query {
                    full_text: Some(FullTextQuery {
                        query: Some(full_text_query::Query::Match(MatchQuery {
                            terms: "a".into(),
                            column: "nosuch".into(),
                            ..Default::default()
                        })),
                    }),
                    vectors: vec![],
                    ..query()
                },
            ),
        ] {
            let ask = async |mut to: Clients| {
                let query = Some(query.clone());
                sent!(to.search.search(SearchRequest {
                    freshness: None,
                    table: table(),
                    query,
                    row_format: 0
                }))
            };
            bad.refused(what, Code::NotFound, "COLUMN_NOT_FOUND", ask)
                .await;
        }
        let no_index = Query {
            full_text: Some(FullTextQuery {
                query: Some(full_text_query::Query::Text("a".into())),
            }),
            vectors: vec![],
            ..query()
        };
        bad.refused(
            "a full-text index",
            Code::NotFound,
            "INDEX_NOT_FOUND",
            async |mut to: Clients| {
                let query = Some(no_index.clone());
                sent!(to.search.search(SearchRequest {
                    freshness: None,
                    table: table(),
                    query,
                    row_format: 0
                }))
            },
        )
        .await;
        for (what, query) in [
            (
                "a scanned column",
                ScanQuery {
                    columns: vec!["nosuch".into()],
                    ..Default::default()
                },
            ),
            (
                "a column to order by",
                ScanQuery {
                    order_by: vec![Ordering {
                        column: "nosuch".into(),
                        ..Default::default()
                    }],
                    ..Default::default()
                },
            ),
        ] {
            let scan = async |mut to: Clients| {
                sent!(to.search.scan(ScanRequest {
                    table: table(),
                    query: Some(query.clone()),
                    ..Default::default()
                }))
            };
            bad.refused(what, Code::NotFound, "COLUMN_NOT_FOUND", scan)
                .await;
            let explain = async |mut to: Clients| {
                sent!(to.search.explain(ExplainRequest {
                    table: table(),
                    target: Some(explain_request::Target::Scan(query.clone())),
                    ..Default::default()
                }))
            };
            let what = format!("{what} of a plan");
            bad.refused(&what, Code::NotFound, "COLUMN_NOT_FOUND", explain)
                .await;
        }
        not_in_writes(&mut bad).await;
        not_in_table_changes(&mut bad).await;
        bad.finish().await;
    });
}

async fn not_in_writes(bad: &mut Bad) {
    let column = "COLUMN_NOT_FOUND";
    bad.refused("a key column", Code::NotFound, column, async |mut to| {
        sent!(to.search.get(GetRequest {
            table: "t".into(),
            key_columns: vec!["nosuch".into()],
            keys: vec![Row {
                values: vec![Value::default()],
            }],
            ..Default::default()
        }))
    })
    .await;
    bad.refused("a column of on", Code::NotFound, column, async |mut to| {
        sent!(to.write.upsert(UpsertRequest {
            request_id: String::new(),
            table: "t".into(),
            on: vec!["nosuch".into()],
            rows: Some(ipc(&sample())),
            ..Default::default()
        }))
    })
    .await;
    for to_value in [
        assignment::To::Expression("1".into()),
        assignment::To::Value(Value::default()),
    ] {
        bad.refused("a column to set", Code::NotFound, column, async |mut to| {
            sent!(to.write.update(UpdateRequest {
                request_id: String::new(),
                table: "t".into(),
                filter: None,
                assignments: vec![Assignment {
                    column: "nosuch".into(),
                    to: Some(to_value.clone()),
                }],
            }))
        })
        .await;
    }
    let expression = "assignments[0].expression";
    for sql in ["nosuch + 1", "nofunc(size)", "size +", "(SELECT 1)"] {
        let what = format!("an assignment of {sql}");
        bad.refused(&what, Code::InvalidArgument, expression, async |mut to| {
            sent!(to.write.update(UpdateRequest {
                request_id: String::new(),
                table: "t".into(),
                filter: None,
                assignments: vec![Assignment {
                    column: "size".into(),
                    to: Some(assignment::To::Expression(sql.into())),
                }],
            }))
        })
        .await;
    }
}

async fn not_in_table_changes(bad: &mut Bad) {
    let (column, table) = ("COLUMN_NOT_FOUND", || "t".to_owned());
    for path in ["nosuch", "nosuch.x", "place.nosuch"] {
        let what = format!("a column {path} to");
        let index = async |mut to: Clients| {
            sent!(to.table.create_index(CreateIndexRequest {
                table: table(),
                columns: vec![path.into()],
                index: Some(IndexSpec {
                    kind: Some(index_spec::Kind::Btree(BTreeIndex {})),
                }),
                ..Default::default()
            }))
        };
        bad.refused(&format!("{what} index"), Code::NotFound, column, index)
            .await;
        let alter = async |mut to: Clients| {
            sent!(to.table.alter_columns(AlterColumnsRequest {
                table: table(),
                alterations: vec![ColumnAlteration {
                    path: path.into(),
                    rename: Some("b".into()),
                    ..Default::default()
                }],
            }))
        };
        bad.refused(&format!("{what} alter"), Code::NotFound, column, alter)
            .await;
        let dropped = async |mut to: Clients| {
            sent!(to.table.drop_columns(DropColumnsRequest {
                table: table(),
                columns: vec![path.into()],
            }))
        };
        bad.refused(&format!("{what} drop"), Code::NotFound, column, dropped)
            .await;
    }
    for sql in ["nosuch + 1", "nofunc(size)", "size +", "1 LIMIT 1"] {
        let what = format!("a new column of {sql}");
        let field = "computed.columns[0].expression";
        bad.refused(&what, Code::InvalidArgument, field, async |mut to| {
            sent!(to.table.add_columns(AddColumnsRequest {
                table: table(),
                source: Some(computed("new", sql)),
            }))
        })
        .await;
    }
    bad.refused(
        "a new column that is there",
        Code::AlreadyExists,
        "COLUMN_ALREADY_EXISTS",
        async |mut to| {
            sent!(to.table.add_columns(AddColumnsRequest {
                table: table(),
                source: Some(computed("size", "1")),
            }))
        },
    )
    .await;
    bad.refused(
        "a table that is there",
        Code::AlreadyExists,
        "TABLE_ALREADY_EXISTS",
        async |mut to| {
            sent!(to.table.create_table(CreateTableRequest {
                table: table(),
                source: Some(create_table_request::Source::Rows(ipc(&sample()))),
                exist_ok: false,
            }))
        },
    )
    .await;
    let (index, tag, version) = ("INDEX_NOT_FOUND", "TAG_NOT_FOUND", "VERSION_NOT_FOUND");
    bad.refused("an index to drop", Code::NotFound, index, async |mut to| {
        sent!(to.table.drop_index(DropIndexRequest {
            table: table(),
            name: "nosuch".into(),
        }))
    })
    .await;
    bad.refused(
        "an index to wait for",
        Code::NotFound,
        index,
        async |mut to| {
            sent!(to.table.wait_for_indexes(WaitForIndexesRequest {
                table: table(),
                names: vec!["nosuch".into()],
                timeout: None,
            }))
        },
    )
    .await;
    use restore_version_request::Target;
    for (what, target, code, about) in [
        (
            "a version",
            Some(Target::Version(999)),
            Code::NotFound,
            version,
        ),
        (
            "the last version of all",
            Some(Target::Version(u64::MAX)),
            Code::NotFound,
            version,
        ),
        (
            "a tag",
            Some(Target::Tag("nosuch".into())),
            Code::NotFound,
            tag,
        ),
        (
            "no version",
            Some(Target::Version(0)),
            Code::InvalidArgument,
            "version",
        ),
        (
            "a tag that is a path",
            Some(Target::Tag("../x".into())),
            Code::InvalidArgument,
            "tag",
        ),
        ("nothing", None, Code::InvalidArgument, "target"),
    ] {
        bad.refused(&format!("restore {what}"), code, about, async |mut to| {
            sent!(to.table.restore_version(RestoreVersionRequest {
                table: table(),
                target: target.clone(),
            }))
        })
        .await;
    }
    for (name, number, code, about) in [
        ("a", 999, Code::NotFound, version),
        ("a/b", 1, Code::InvalidArgument, "tag.name"),
        ("", 1, Code::InvalidArgument, "tag.name"),
        ("a", 0, Code::InvalidArgument, "tag.version"),
    ] {
        let named = Some(Tag {
            name: name.into(),
            version: number,
        });
        bad.refused(&format!("tag {name}@{number}"), code, about, {
            async |mut to| {
                sent!(to.table.create_tag(CreateTagRequest {
                    table: table(),
                    tag: named.clone(),
                }))
            }
        })
        .await;
        bad.refused(&format!("move tag {name}@{number}"), code, about, {
            async |mut to| {
                sent!(to.table.update_tag(UpdateTagRequest {
                    table: table(),
                    tag: named.clone(),
                }))
            }
        })
        .await;
    }
    bad.refused("a tag to delete", Code::NotFound, tag, async |mut to| {
        sent!(to.table.delete_tag(DeleteTagRequest {
            table: table(),
            name: "nosuch".into(),
        }))
    })
    .await;
}

//! Where data is, is the server's affair: no request says it, and no name leads there.

use std::{collections::BTreeSet, path::Path};

use lancegate::proto::{DESCRIPTORS, v1::*};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Code;

use super::{Bad, Clients, run};
use crate::place;

/// The only field of a request whose name says "path" and the like: that of a column.
const HARMLESS: [&str; 1] = ["ColumnAlteration.path"];

fn fields(message: &DescriptorProto, found: &mut Vec<String>) {
    for field in &message.field {
        found.push(format!("{}.{}", message.name(), field.name()));
    }
    for inner in &message.nested_type {
        fields(inner, found);
    }
}

#[test]
fn no_request_says_where_data_is() {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let files = set
        .file
        .iter()
        .filter(|file| file.package() == "lancegate.v1");
    let mut all = Vec::new();
    for message in files.flat_map(|file| &file.message_type) {
        fields(message, &mut all);
    }
    assert!(all.len() > 200, "{all:?}");
    let places = [
        "uri", "url", "path", "location", "folder", "file", "endpoint", "bucket",
    ];
    let telling: Vec<&String> = all
        .iter()
        .filter(|name| !HARMLESS.contains(&name.as_str()))
        .filter(|name| {
            let (_, field) = name.split_once('.').expect("a field");
            field.split('_').any(|word| places.contains(&word))
        })
        .collect();
    assert!(telling.is_empty(), "{telling:?}");
}

/// Everything at a server's places, and in the folder that they would be in, but what is
/// within its tables.
fn around(folder: &Path) -> BTreeSet<String> {
    let mut found = around_tables(folder);
    for name in place::files(folder).into_keys() {
        let is_own = |part: &&str| part.ends_with(".lance") || *part == "_lancegate";
        let own = name.split('/').find(is_own);
        let end = own.map_or(name.len(), |part| {
            name.find(part).expect("a part") + part.len()
        });
        found.insert(name[..end].to_owned());
    }
    found
}

/// Everything below a local folder but what is within its tables.
fn around_tables(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(format!("{}/{name}", folder.display()));
        // Identities, leases and pins come and go.
        let own = name.ends_with(".lance") || name == "_lancegate";
        if entry.file_type().unwrap().is_dir() && !own {
            found.extend(around_tables(&entry.path()));
        }
    }
    found
}

#[test]
fn no_name_leads_out_of_its_table() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let before = around(bad.server.folder.path());
        let long = "x".repeat(100_000);
        for (i, name) in [
            "..",
            "../../x",
            "/tmp/x",
            "a/b",
            "a\\b",
            "%2e%2e%2fx",
            "a\0b",
            "a\nb",
            ".",
            "\u{202e}x",
            "ｔ\u{301}ag/..",
            &long,
        ]
        .into_iter()
        .enumerate()
        {
            let tag = || Tag {
                name: name.to_owned(),
                version: 1,
            };
            let table = || "t".to_owned();
            bad.refused(
                &format!("CreateTag {i}"),
                Code::InvalidArgument,
                "tag.name",
                async |mut to: Clients| {
                    let (table, tag) = (table(), Some(tag()));
                    to.table.create_tag(CreateTagRequest { table, tag }).await
                },
            )
            .await;
            bad.refused(
                &format!("UpdateTag {i}"),
                Code::InvalidArgument,
                "tag.name",
                async |mut to: Clients| {
                    let (table, tag) = (table(), Some(tag()));
                    to.table.update_tag(UpdateTagRequest { table, tag }).await
                },
            )
            .await;
            // What such a name is not told of, it is not found by.
            bad.survived(&format!("DropIndex {i}"), async |mut to: Clients| {
                let (table, name) = (table(), name.to_owned());
                to.table.drop_index(DropIndexRequest { table, name }).await
            })
            .await;
            bad.survived(&format!("DropColumns {i}"), async |mut to: Clients| {
                let (table, columns) = (table(), vec![name.to_owned()]);
                to.table
                    .drop_columns(DropColumnsRequest { table, columns })
                    .await
            })
            .await;
            bad.survived(&format!("Search {i}"), async |mut to: Clients| {
                let query = Query {
                    vectors: vec![crate::data::floats(&[0.0; 4])],
                    vector_column: name.to_owned(),
                    limit: 1,
                    ..Default::default()
                };
                let request = SearchRequest {
                    table: table(),
                    query: Some(query),
                    ..Default::default()
                };
                to.search.search(request).await
            })
            .await;
        }
        assert_eq!(around(bad.server.folder.path()), before);
        bad.finish().await;
    });
}

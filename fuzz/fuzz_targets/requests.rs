//! Request messages: whatever bytes come, they are decoded or refused. The first byte
//! says which message they are.

#![no_main]

use std::sync::LazyLock;

use lancegate::{
    config::{Limits, Sources, load},
    proto::v1 as pb,
    wire::{filter, index, query, rows, schema},
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    let config = load(Sources::default()).unwrap_or_else(|faults| panic!("{faults}"));
    config.limits
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        0 => {
            if let Ok(message) = pb::SearchRequest::decode(data) {
                let _ = query::search(message.query, &LIMITS);
            }
        }
        1 => {
            if let Ok(message) = pb::ScanRequest::decode(data) {
                let _ = query::scan(message.query, "query", &LIMITS);
                let _ = query::page_size(message.page_size, &LIMITS);
            }
        }
        2 => {
            if let Ok(message) = pb::GetRequest::decode(data) {
                let _ = query::check_get(&message, &LIMITS);
                let _ = rows::decode_key_batch(&message.keys, Vec::new());
            }
        }
        3 => {
            if let Ok(message) = pb::InsertRequest::decode(data)
                && let Ok(found) = rows::decode_rows(message.rows, None, "rows")
            {
                let counted: usize = found.batches.iter().map(|b| b.num_rows()).sum();
                assert_eq!(counted, found.num_rows);
                assert!(found.batches.iter().all(|b| b.schema() == found.schema));
            }
        }
        4 => {
            if let Ok(message) = pb::CreateTableRequest::decode(data)
                && let Some(pb::create_table_request::Source::Schema(found)) = message.source
            {
                let _ = schema::from_pb(found, "schema");
            }
        }
        _ => {
            if let Ok(message) = pb::DeleteRequest::decode(data) {
                let _ = filter::filter(message.filter, "filter", &LIMITS);
            }
            if let Ok(message) = pb::CreateIndexRequest::decode(data) {
                let _ = index::spec(message.index);
            }
        }
    }
});

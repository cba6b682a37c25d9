//! Arrow IPC streams: rows come out as they were written, or not at all.

#![no_main]

use std::{panic, process::abort, sync::Once};

use bytes::Bytes;
use lancegate::wire::ipc;
use libfuzzer_sys::fuzz_target;

static HOOK: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    // Panics of the arrow crate are caught, and are an error of the request; all others
    // are faults of ours.
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map_or("", |place| place.file());
            if !place.contains("/arrow-") {
                eprintln!("{info}");
                abort();
            }
        }));
    });
    let _ = ipc::decode_schema(data, "schema");
    let Ok((schema, batches)) = ipc::decode_stream(Bytes::copy_from_slice(data), "rows") else {
        return;
    };
    for batch in &batches {
        assert_eq!(batch.schema(), schema);
        // Whatever is read of them must be there: printing reads all.
        let _ = arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch))
            .map(|text| text.to_string());
    }
    let Ok(written) = ipc::encode_stream(&schema, &batches) else {
        return;
    };
    let (_, again) = ipc::decode_stream(written, "rows").unwrap();
    let rows = |batches: &[arrow::array::RecordBatch]| -> usize {
        batches.iter().map(|batch| batch.num_rows()).sum()
    };
    assert_eq!(rows(&again), rows(&batches));
});

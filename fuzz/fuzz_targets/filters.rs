//! Filters of somebody who sees only some rows: whatever is asked, the others are not
//! there, and nothing panics.

#![no_main]

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray},
    util::display::array_value_to_string,
};
use lancegate::{
    config::{Config, Sources, load},
    domain::{Filter, Scalar, TableName, TableScope, search::Scan},
    storage::{Rules, Sessions, Snapshot, Store},
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::runtime::Runtime;

struct World {
    runtime: Runtime,
    snapshot: Arc<Snapshot>,
    rules: Rules,
    _folder: TempDir,
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([
        (
            "tenant",
            Arc::new(StringArray::from(vec!["a", "b", "a", "b"])) as _,
        ),
        (
            "id",
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)])) as _,
        ),
        (
            "x",
            Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0, 1e300])) as _,
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("1"),
                Some("secret"),
                None,
                Some("%_"),
            ])) as _,
        ),
        (
            "at",
            Arc::new(TimestampSecondArray::from(vec![0, 1, -1, i64::from(i32::MAX)])) as _,
        ),
    ])
    .unwrap()
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let sources = Sources {
        data_dir: Some(folder.path().to_owned()),
        ..Sources::default()
    };
    let config: Config = load(sources).unwrap_or_else(|faults| panic!("{faults}"));
    let runtime = Runtime::new().unwrap();
    let location = config.primary.location().unwrap().clone();
    let rules = Rules::of(&config);
    let snapshot = runtime.block_on(async {
        let store = Store::connect(&location, &Sessions::new(config.cache)).await;
        let name = TableName::parse("t").unwrap();
        let rows = rows();
        let table = store.unwrap().create(&name, rows.schema(), vec![rows]).await;
        Arc::new(table.unwrap().snapshot().await.unwrap())
    });
    let scope = Arc::new(TableScope {
        rows: vec![Filter {
            field: "rows".into(),
            sql: "tenant = $1".into(),
            params: vec![Scalar::Text("a".into())],
        }],
        hidden: ["text".to_owned()].into(),
    });
    World {
        runtime,
        snapshot: snapshot.seen_by(&scope).unwrap(),
        rules,
        _folder: folder,
    }
});

fuzz_target!(|data: &[u8]| {
    let Ok(sql) = std::str::from_utf8(data) else {
        return;
    };
    if sql.trim().is_empty() {
        return;
    }
    let world = &*WORLD;
    let filter = Filter {
        field: "filter".into(),
        sql: sql.to_owned(),
        params: vec![Scalar::Int(1), Scalar::Text("secret".into())],
    };
    world.runtime.block_on(async {
        let count = world.snapshot.count(Some(&filter), &world.rules).await;
        if let Err(error) = &count {
            let text = error.to_string();
            // Only where the filter itself says so.
            let told = text.to_lowercase().contains("secret");
            assert!(!told || sql.to_lowercase().contains("secret"), "{text}");
        }
        let scan = Scan {
            filter: Some(filter),
            ..Scan::default()
        };
        let Ok(found) = world.snapshot.scan(&scan, 0, 100, &world.rules).await else {
            return;
        };
        let Ok(found) = found.collect(1 << 20).await else {
            return;
        };
        for batch in &found.batches {
            let tenants = batch.column_by_name("tenant").unwrap();
            for row in 0..batch.num_rows() {
                assert_eq!(array_value_to_string(tenants, row).unwrap(), "a");
            }
            assert!(batch.column_by_name("text").is_none());
        }
        if let Ok(count) = count {
            assert!(count <= 2, "{count} rows of two");
        }
    });
});

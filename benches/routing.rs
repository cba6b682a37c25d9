//! What a routing decision costs: `cargo bench --bench routing`. Sixteen replicas
//! of one table, all up; the decision is from a request to the connection and
//! snapshot it goes to, and touches neither disk nor network.

use std::{
    collections::HashSet,
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, criterion_group, criterion_main};
use lancegate::{
    config::{self, Live, Sources},
    connection::{Connection, Events, Primary, Whole, follow},
    domain::{Need, Role, TableName, view::ConnectionState},
    router::{Decision, ReadRequest, Router},
    storage::{Sessions, Store},
};

const REPLICAS: usize = 16;

fn routing(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let table = TableName::parse("t").expect("a name");
    let router = runtime.block_on(router(folder.path(), &table));
    let newest = router.primary().connection().catalog().position(&table);
    // No runtime from here on: nothing below could wait for anything.
    drop(runtime.enter());
    for (name, need) in [
        ("eventual", Need::NOTHING),
        (
            "token",
            Need {
                position: newest,
                as_of: None,
            },
        ),
        (
            "max age",
            Need {
                position: None,
                as_of: Some(SystemTime::UNIX_EPOCH),
            },
        ),
    ] {
        criterion.bench_function(&format!("{name}, {REPLICAS} replicas"), |b| {
            b.iter(|| {
                let request = ReadRequest {
                    table: black_box(&table),
                    ask: router.ask(),
                    need,
                };
                let decision = router.route(request);
                assert!(matches!(decision, Ok(Decision::Go(_))));
                decision
            });
        });
    }
}

async fn router(folder: &std::path::Path, table: &TableName) -> Router {
    let config = config::load(Sources {
        env: vec![(
            "LANCEGATE_PRIMARY__URI".into(),
            folder.display().to_string(),
        )],
        ..Sources::default()
    })
    .expect("a configuration");
    let sessions = Sessions::new(config.cache);
    let store = Store::connect(config.primary.location().expect("a location"), &sessions)
        .await
        .expect("a store");
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    store
        .create(table, schema, Vec::new())
        .await
        .expect("a table");

    let events = Events::default();
    let connect = |role| {
        Arc::new(Connection::new(
            role,
            config.primary.location().expect("a location").clone(),
            events.clone(),
        ))
    };
    let primary = Arc::new(Primary::new(
        connect(Role::Primary),
        Vec::new(),
        config.writes,
    ));
    let replicas: Vec<_> = (0..REPLICAS).map(|_| connect(Role::Replica)).collect();
    for connection in std::iter::once(primary.connection()).chain(&replicas) {
        connection.open(&sessions).await.expect("an open location");
        connection.set_state(ConnectionState::Up, None);
    }
    assert!(follow(&primary).await.expect("a look").is_empty());
    for replica in &replicas {
        let whole = Whole {
            connection: Arc::clone(replica),
            warm: Duration::ZERO,
            withheld: HashSet::new(),
        };
        assert!(follow(&whole).await.expect("a look").is_empty());
    }
    Router::new(primary, replicas, Live::new(config), events)
}

criterion_group!(benches, routing);
criterion_main!(benches);

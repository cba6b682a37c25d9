//! Sessions: many queries on exactly one version, on every connection, across
//! restarts, until the lease ends.

use std::{collections::BTreeSet, time::Duration};

use lancegate::proto::v1::{freshness::Kind, *};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small},
    server::{TestServer, reason},
};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn open_request(table: &str) -> OpenSessionRequest {
    OpenSessionRequest {
        table: table.into(),
        ..Default::default()
    }
}

async fn open(server: &mut TestServer, table: &str) -> OpenSessionResponse {
    let opened = server.search.open_session(open_request(table)).await;
    opened.expect("a session").into_inner()
}

/// The rows of a table in a session, and who counted them.
async fn count(server: &mut TestServer, session: &str) -> Result<(u64, Served), Status> {
    let request = CountRequest {
        table: "t".into(),
        freshness: Some(Freshness {
            kind: Some(Kind::Session(session.to_owned())),
        }),
        filter: None,
    };
    let answer = server.search.count(request).await?.into_inner();
    Ok((answer.count, answer.served.expect("who answered")))
}

async fn insert(server: &mut TestServer, id: i64) {
    let request = InsertRequest {
        request_id: String::new(),
        table: "t".into(),
        rows: Some(ipc(&small(id, 1))),
        mode: 0,
    };
    server.write.insert(request).await.expect("a row inserted");
}

fn field(status: &Status) -> String {
    let details = status.get_details_bad_request().expect("BadRequest");
    details.field_violations[0].field.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_one_version_on_every_connection_and_across_restarts() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let opened = open(&mut server, "t").await;
    assert_eq!(opened.version, 1);
    for i in 0..5 {
        insert(&mut server, 10 + i).await;
        server.settled().await;
    }
    let mut by = BTreeSet::new();
    for _ in 0..6 {
        let (rows, served) = count(&mut server, &opened.session).await.unwrap();
        assert_eq!((rows, served.version), (10, 1), "{}", served.route);
        by.insert(served.connection);
    }
    assert_eq!(by.len(), 2, "{by:?}");
    let mut server = server.restart(2).await;
    assert_eq!(count(&mut server, &opened.session).await.unwrap().0, 10);
    // Without the copies the primary has it.
    let mut server = server.restart(0).await;
    let (rows, served) = count(&mut server, &opened.session).await.unwrap();
    assert_eq!((rows, served.role()), (10, Role::Primary));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_unless_it_is_renewed() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let request = OpenSessionRequest {
        ttl: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..open_request("t")
    };
    let opened = server.search.open_session(request).await.unwrap();
    let opened = opened.into_inner();
    let renew = RenewSessionRequest {
        table: "t".into(),
        session: opened.session.clone(),
        ttl: seconds(600),
    };
    let renewed = server.search.renew_session(renew.clone()).await.unwrap();
    let renewed = renewed.into_inner();
    let (first, second) = (opened.expire_time.unwrap(), renewed.expire_time.unwrap());
    assert!(second.seconds >= first.seconds + 590);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let ended = count(&mut server, &opened.session).await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition);
    assert_eq!(reason(&ended), "SESSION_EXPIRED");
    let late = server
        .search
        .renew_session(renew.clone())
        .await
        .unwrap_err();
    assert_eq!(reason(&late), "SESSION_EXPIRED");
    assert_eq!(count(&mut server, &renewed.session).await.unwrap().0, 10);

    let close = CloseSessionRequest {
        table: "t".into(),
        session: renewed.session.clone(),
    };
    for _ in 0..2 {
        server.search.close_session(close.clone()).await.unwrap();
    }
    let renew = RenewSessionRequest {
        session: renewed.session,
        ..renew
    };
    let closed = server.search.renew_session(renew).await.unwrap_err();
    assert_eq!(reason(&closed), "SESSION_CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_session_of_the_table_is_refused() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    server.table_of("u", ipc(&small(0, 10))).await;
    let opened = open(&mut server, "t").await;
    let token = opened.served.expect("who answered").token;
    let of_another = open(&mut server, "u").await.session;
    // Another letter in the middle.
    let (head, tail) = opened.session.split_at(opened.session.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}{other}{}", &tail[1..]);
    let long = "A".repeat(1_000_000);
    for bad in ["", "x", &token, &of_another, &forged, &long] {
        let refused = count(&mut server, bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
        assert_eq!(field(&refused), "freshness.session");
        let close = CloseSessionRequest {
            table: "t".into(),
            session: bad.to_owned(),
        };
        let refused = server.search.close_session(close).await.unwrap_err();
        assert_eq!(field(&refused), "session");
    }
    for ttl in [seconds(0), seconds(-1), seconds(3601), seconds(i64::MIN)] {
        let request = OpenSessionRequest {
            ttl,
            ..open_request("t")
        };
        let refused = server.search.open_session(request).await.unwrap_err();
        assert_eq!(field(&refused), "ttl");
    }
    let refused = server.search.open_session(open_request("v")).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);

    // Dropped and created again, with the same number of versions.
    let drop = DropTableRequest {
        table: "t".into(),
        ..Default::default()
    };
    server.table.drop_table(drop).await.unwrap();
    server.table_of("t", ipc(&small(0, 5))).await;
    let refused = count(&mut server, &opened.session).await.unwrap_err();
    assert_eq!(reason(&refused), "TABLE_RECREATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_so_many_sessions_and_no_more() {
    let server = TestServer::start(0).await;
    let few = [("LANCEGATE_SESSIONS__MAX_OPEN", "2")];
    let mut server = server.restart_with(0, &few).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let first = open(&mut server, "t").await;
    open(&mut server, "t").await;
    let refused = server.search.open_session(open_request("t")).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    let close = CloseSessionRequest {
        table: "t".into(),
        session: first.session,
    };
    server.search.close_session(close).await.unwrap();
    open(&mut server, "t").await;
}

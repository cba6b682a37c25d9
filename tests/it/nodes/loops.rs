//! Routers that lead back to themselves.

use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::{Code, Request};

use super::fleet::{count, router_settings, start_node, start_router, topology, uri};
use crate::{
    data::{ipc, small},
    server::reason,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_leads_to_itself_finds_out_and_answers_otherwise() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let list = folder.path().join("nodes");
    std::fs::write(&list, "").unwrap();
    let file = format!("grpc+file://{}", list.display());
    let mut router = start_router(router_settings(&uri(&node), &[file], &[])).await;
    router.create("t", ipc(&small(0, 10))).await;
    std::fs::write(&list, router.app.grpc_address().to_string()).unwrap();
    let mut known = Vec::new();
    for _ in 0..600 {
        known = topology(&mut router).await;
        if known.len() == 2 && known[1].state() == ConnectionState::Down {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(known[1].last_error.starts_with("ROUTING_LOOP"), "{known:?}");
    for _ in 0..5 {
        let answer = router.search.count(count("t")).await.unwrap().into_inner();
        let served = answer.served.unwrap();
        assert!(served.connection.starts_with("primary/"), "{served:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_that_lead_to_each_other_end() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let mut routers = Vec::new();
    for i in 0..2 {
        let list = folder.path().join(format!("nodes-{i}"));
        std::fs::write(&list, "").unwrap();
        let file = format!("grpc+file://{}", list.display());
        routers.push(start_router(router_settings(&uri(&node), &[file], &[])).await);
    }
    routers[0].create("t", ipc(&small(0, 10))).await;
    for (i, other) in [(0, 1), (1, 0)] {
        let list = folder.path().join(format!("nodes-{i}"));
        let address = routers[other].app.grpc_address().to_string();
        std::fs::write(&list, address).unwrap();
    }
    // Each finds the other one up or not, as it may be: what is asked is answered.
    for _ in 0..40 {
        for router in &mut routers {
            let answer = router.search.count(count("t")).await.unwrap().into_inner();
            assert_eq!(answer.count, 10);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_passes_through_eight_processes_at_most() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let mut router = start_router(router_settings(&uri(&node), &[], &[])).await;
    router.create("t", ipc(&small(0, 10))).await;
    for (via, fits) in [("1,2,3,4,5,6,7", true), ("1,2,3,4,5,6,7,8", false)] {
        let mut request = Request::new(count("t"));
        let via = via.parse().unwrap();
        request.metadata_mut().insert("x-lancegate-via", via);
        let answer = router.search.count(request).await;
        assert_eq!(answer.is_ok(), fits);
        if let Err(refused) = answer {
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert_eq!(reason(&refused), "ROUTING_LOOP");
        }
    }
}

//! ClusterService: what the server is made of, and what may be done to it.

mod rebuild;
mod reload;
mod topology;
mod verbs;
mod watch;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use self::{topology::shown, watch::Looks};
use super::{allowed::grants, api::refuse};
use crate::{
    access::Refusal,
    config::Live,
    domain::Result,
    node::Nodes,
    operate::{Reloader, Watchers},
    proto::v1 as pb,
    router::Router,
};

/// What a server is made of: connections of its own, and other nodes.
#[derive(Clone)]
pub struct Places {
    /// `None` where the primary is another node.
    pub router: Option<Arc<Router>>,
    pub nodes: Arc<Nodes>,
}

/// ClusterService: it is about this process, whatever else is forwarded.
#[derive(Clone)]
pub struct Cluster {
    places: Places,
    live: Live,
    reloader: Arc<Reloader>,
    watchers: Watchers,
    looks: Looks,
}

impl Cluster {
    /// The service of one server.
    pub fn new(places: Places, live: Live, reloader: Arc<Reloader>, watchers: Watchers) -> Self {
        Self {
            places,
            live,
            reloader,
            watchers,
            looks: Looks::default(),
        }
    }
}

#[tonic::async_trait]
impl pb::cluster_service_server::ClusterService for Cluster {
    async fn get_topology(
        &self,
        request: Request<pb::GetTopologyRequest>,
    ) -> Answered<pb::GetTopologyResponse> {
        let extensions = request.extensions();
        let topology = grants(extensions).map(|grants| shown(self.topology(), grants));
        sent(extensions, topology.map_err(Refusal::error))
    }

    type WatchTopologyStream = watch::Topologies;

    async fn watch_topology(
        &self,
        request: Request<pb::WatchTopologyRequest>,
    ) -> Answered<Self::WatchTopologyStream> {
        let (_, extensions, request) = request.into_parts();
        let grants = grants(&extensions).cloned().map_err(Refusal::error);
        let watched = grants.and_then(|grants| self.watch(request.heartbeat, grants));
        sent(&extensions, watched)
    }

    async fn rebuild_replica(
        &self,
        request: Request<pb::RebuildReplicaRequest>,
    ) -> Answered<pb::RebuildReplicaResponse> {
        let (_, extensions, request) = request.into_parts();
        match self.rebuild(&request).await {
            Ok(tables) => Ok(Response::new(pb::RebuildReplicaResponse { tables })),
            Err(error) => Err(refuse(&extensions, &request.table, &error)),
        }
    }

    async fn drain_connection(
        &self,
        request: Request<pb::DrainConnectionRequest>,
    ) -> Answered<pb::DrainConnectionResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.drain(&request.connection))
    }

    async fn undrain_connection(
        &self,
        request: Request<pb::UndrainConnectionRequest>,
    ) -> Answered<pb::UndrainConnectionResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.undrain(&request.connection))
    }

    async fn eject_connection(
        &self,
        request: Request<pb::EjectConnectionRequest>,
    ) -> Answered<pb::EjectConnectionResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.eject(&request))
    }

    async fn probe_connection(
        &self,
        request: Request<pb::ProbeConnectionRequest>,
    ) -> Answered<pb::ProbeConnectionResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.probe(&request.connection).await)
    }

    async fn set_connection_weight(
        &self,
        request: Request<pb::SetConnectionWeightRequest>,
    ) -> Answered<pb::SetConnectionWeightResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.set_weight(&request))
    }

    async fn reload_configuration(
        &self,
        request: Request<pb::ReloadConfigurationRequest>,
    ) -> Answered<pb::ReloadConfigurationResponse> {
        let (_, extensions, request) = request.into_parts();
        sent(&extensions, self.reload(request.validate_only).await)
    }
}

/// What a call ends with.
type Answered<T> = std::result::Result<Response<T>, Status>;

/// An outcome as a client gets it.
fn sent<T>(extensions: &tonic::Extensions, outcome: Result<T>) -> Answered<T> {
    outcome
        .map(Response::new)
        .map_err(|error| refuse(extensions, "", &error))
}

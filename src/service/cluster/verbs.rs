//! What may be done to one connection.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    connection::Connection,
    domain::{Error, Result, Role},
    node::Node,
    operate::{self, Probe},
    pool::Member,
    proto::v1 as pb,
    service::cluster::{Cluster, Places},
    wire,
};

impl Cluster {
    pub(super) fn drain(&self, name: &str) -> Result<pb::DrainConnectionResponse> {
        let connection = self.order(name, |member| {
            operate::drain(member);
            Ok(())
        })?;
        Ok(pb::DrainConnectionResponse { connection })
    }

    pub(super) fn undrain(&self, name: &str) -> Result<pb::UndrainConnectionResponse> {
        let connection = self.order(name, |member| {
            operate::undrain(member, Instant::now());
            Ok(())
        })?;
        Ok(pb::UndrainConnectionResponse { connection })
    }

    pub(super) fn eject(
        &self,
        request: &pb::EjectConnectionRequest,
    ) -> Result<pb::EjectConnectionResponse> {
        let lasts = wire::table::duration(request.duration, "duration")?.unwrap_or_default();
        let connection = self.order(&request.connection, |member| {
            operate::eject(member, lasts, Instant::now())
        })?;
        Ok(pb::EjectConnectionResponse { connection })
    }

    pub(super) fn set_weight(
        &self,
        request: &pb::SetConnectionWeightRequest,
    ) -> Result<pb::SetConnectionWeightResponse> {
        let connection = self.order(&request.connection, |member| {
            operate::set_weight(member, request.weight)
        })?;
        Ok(pb::SetConnectionWeightResponse { connection })
    }

    pub(super) async fn probe(&self, name: &str) -> Result<pb::ProbeConnectionResponse> {
        let outcome = match (self.connection(name), self.node(name)) {
            (Some(connection), _) => {
                let outcome = operate::probe(connection).await;
                // The task that watches it looks at once, too, and writes down what it
                // finds.
                connection.ask_for_a_look();
                outcome
            }
            (None, Some(node)) => self.probe_node(&node).await,
            (None, None) => {
                return Err(Error::invalid(
                    "connection",
                    "is no connection of this server; GetTopology names them",
                ));
            }
        };
        Ok(pb::ProbeConnectionResponse {
            ok: outcome.ok,
            detail: outcome.detail,
            latency: outcome.latency.try_into().ok(),
            connection: self.status_named(name),
        })
    }

    fn connection(&self, name: &str) -> Option<&Arc<Connection>> {
        let router = self.places.router.as_ref()?;
        router.connections().find(|c| **c.name() == *name)
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        let all = self.places.nodes.all();
        all.into_iter().find(|node| **node.name() == *name)
    }

    /// Asks a node, as the task that watches it does.
    async fn probe_node(&self, node: &Arc<Node>) -> Probe {
        let began = Instant::now();
        let outcome = self.places.nodes.check(node).await;
        Probe {
            ok: outcome.is_ok(),
            latency: began.elapsed(),
            detail: outcome.map_or_else(|error| error, |()| "read from the node".into()),
        }
    }

    /// The name of the primary, wherever it is.
    fn primary(&self) -> Option<Arc<str>> {
        let Places { router, nodes } = &self.places;
        let here = router.as_ref().map(|r| r.primary().connection().name());
        here.or_else(|| nodes.primary().map(|node| node.name()))
            .cloned()
    }

    /// Orders something of a member; answers how its connection is then.
    fn order(
        &self,
        name: &str,
        order: impl FnOnce(&Member) -> Result<()>,
    ) -> Result<Option<pb::ConnectionStatus>> {
        if self.primary().is_some_and(|primary| *primary == *name) {
            return Err(Error::Precondition {
                reason: "PRIMARY_TAKES_NO_TURN",
                message: format!(
                    "'{name}' is the primary: it takes all writes, and reads that nobody else can answer"
                ),
            });
        }
        let out = self.node(name).filter(|node| node.role() == Role::Shadow);
        if out.is_some() {
            return Err(Error::Precondition {
                reason: "OUT_OF_ROTATION",
                message: format!("'{name}' takes no turn: in_rotation = false"),
            });
        }
        let member = operate::member(self.pools(), name)?;
        order(&member)?;
        Ok(self.status_named(name))
    }
}

//! What may be done to one connection.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    connection::Connection,
    domain::{Error, Result},
    operate,
    pool::Member,
    proto::v1 as pb,
    service::cluster::Cluster,
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
        let mut connections = self.router.connections();
        let connection = connections.find(|c| **c.name() == *name);
        let connection: &Arc<Connection> = connection.ok_or_else(|| {
            Error::invalid(
                "connection",
                "is no connection of this server; GetTopology names them",
            )
        })?;
        let outcome = operate::probe(connection).await;
        // The task that watches it looks at once, too, and writes down what it finds.
        connection.ask_for_a_look();
        Ok(pb::ProbeConnectionResponse {
            ok: outcome.ok,
            detail: outcome.detail,
            latency: outcome.latency.try_into().ok(),
            connection: self.status_named(name),
        })
    }

    /// Orders something of a member; answers how its connection is then.
    fn order(
        &self,
        name: &str,
        order: impl FnOnce(&Member) -> Result<()>,
    ) -> Result<Option<pb::ConnectionStatus>> {
        if **self.router.primary().connection().name() == *name {
            return Err(Error::Precondition {
                reason: "PRIMARY_TAKES_NO_TURN",
                message: format!(
                    "'{name}' is the primary: it takes all writes, and reads that nobody else can answer"
                ),
            });
        }
        let member = operate::member(self.pools(), name)?;
        order(&member)?;
        Ok(self.status_named(name))
    }
}

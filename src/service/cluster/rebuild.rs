//! Replacing a replica's copies by the primary's.

use std::{sync::Arc, time::Duration};

use crate::{
    config::ReplicaMode,
    connection::Connection,
    domain::{Error, Result, TableName},
    proto::v1 as pb,
    service::cluster::Cluster,
};

impl Cluster {
    pub(super) async fn rebuild(
        &self,
        request: &pb::RebuildReplicaRequest,
    ) -> Result<Vec<pb::RebuiltTable>> {
        let named = |c: &&Arc<Connection>| **c.name() == *request.replica;
        let router = self.places.router.as_ref();
        let router = router.ok_or_else(|| Error::Precondition {
            reason: "NOT_MANAGED",
            message: "this server copies to no replicas: the primary is another node".into(),
        })?;
        let replica = router.replicas().iter().find(named).ok_or_else(|| {
            Error::invalid(
                "replica",
                "is no replica of this server; GetTopology names them",
            )
        })?;
        if replica.mode() != ReplicaMode::Managed {
            return Err(Error::Precondition {
                reason: "NOT_MANAGED",
                message: format!("this server does not copy to '{}'", replica.name()),
            });
        }
        let mut tables: Vec<TableName> = if request.table.is_empty() {
            let all = router.primary().connection().catalog().all();
            all.keys().cloned().collect()
        } else {
            vec![TableName::parse(&request.table)?]
        };
        tables.sort();
        // All are ordered before the first one is waited for.
        let orders: Vec<_> = tables
            .iter()
            .map(|table| replica.orders().rebuild(table))
            .collect();
        let mut rebuilt = Vec::with_capacity(orders.len());
        for (table, order) in tables.iter().zip(orders) {
            let version = order.await.unwrap_or_else(|_| {
                Err(Error::Unavailable {
                    reason: "STOPPING",
                    message: "the server stops".into(),
                    retry_after: Duration::from_secs(1),
                })
            })?;
            rebuilt.push(pb::RebuiltTable {
                table: table.to_string(),
                version,
            });
        }
        Ok(rebuilt)
    }
}

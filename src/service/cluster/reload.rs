//! Reading the configuration again.

use crate::{config::Change, domain::Result, proto::v1 as pb, service::cluster::Cluster};

impl Cluster {
    pub(super) async fn reload(
        &self,
        validate_only: bool,
    ) -> Result<pb::ReloadConfigurationResponse> {
        let changes = self.reloader.reload("rpc", validate_only).await?;
        let config = self.live.load();
        Ok(pb::ReloadConfigurationResponse {
            changes: changes.into_iter().map(change).collect(),
            configuration_fingerprint: config.fingerprint().to_owned(),
            configuration_loaded_at: Some(config.since().into()),
        })
    }
}

fn change(change: Change) -> pb::ConfigurationChange {
    pb::ConfigurationChange {
        key: change.key,
        old_value: change.old,
        new_value: change.new,
    }
}

//! The third composition: the locations of a configuration, opened to compare
//! them and for nothing else.

use futures::future::join_all;

use super::AppError;
pub use crate::replication::verify::{
    Class, Compared, Failure, Finding, Kind, Options, Progress, Queries, QueryVectors, Report,
};
use crate::{
    config::{Cache, Config, Location, ReplicaMode},
    replication::verify::{self, Place},
    storage::{Sessions, Store},
};

/// Compares the primary with its replicas, or with those that are named. Replicas
/// that cannot be opened are in the report.
///
/// # Errors
/// There is nothing to compare with, or the primary does not answer.
pub async fn verify(
    config: Config,
    names: &[String],
    options: &Options,
    progress: &Progress,
) -> Result<Report, AppError> {
    let known = |name: &&String| config.replicas.iter().any(|r| r.name == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(AppError::UnknownReplica(unknown.clone()));
    }
    let chosen = config.replicas.iter();
    let chosen: Vec<&Location> = chosen
        .filter(|location| match names.is_empty() {
            // The primary's own location has nothing to be compared with.
            true => location.mode != ReplicaMode::Shared,
            false => names.contains(&location.name),
        })
        .collect();
    if chosen.is_empty() {
        return Err(AppError::NoReplicas);
    }
    let cache = share_of(config.cache, chosen.len() + 1);
    let primary = config.primary.location().ok_or(AppError::RemotePrimary)?;
    let primary = open(primary, cache).await?;
    let opened = join_all(chosen.iter().map(|location| open(location, cache))).await;
    let (mut replicas, mut failures) = (Vec::new(), Vec::new());
    for (location, opened) in chosen.into_iter().zip(opened) {
        match opened {
            Ok(place) => replicas.push(place),
            Err(error) => failures.push(Failure {
                connection: location.name.clone(),
                table: String::new(),
                error: error.to_string(),
            }),
        }
    }
    let mut report = verify::verify(&primary, &replicas, options, progress).await?;
    report.failures.splice(0..0, failures);
    Ok(report)
}

/// A location with caches of its own: with common ones a replica could be
/// answered from what was read at the primary.
async fn open(location: &Location, cache: Cache) -> Result<Place, crate::domain::Error> {
    let store = Store::connect_existing(location, &Sessions::new(cache)).await?;
    Ok(Place {
        name: location.name.clone(),
        store,
    })
}

fn share_of(cache: Cache, places: usize) -> Cache {
    Cache {
        index_bytes: cache.index_bytes / places,
        metadata_bytes: cache.metadata_bytes / places,
    }
}

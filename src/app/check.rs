//! The locations of a configuration, asked for all that will be needed of them.

use std::path::Path;

use futures::future::join_all;
use url::Url;

use crate::{
    config::{Config, Location},
    storage::{Finding, Sessions, Store, in_words, probe, redacted},
};

/// What was found out about one location.
#[derive(Debug)]
pub struct Checked {
    /// The connection's name.
    pub connection: String,
    pub uri: String,
    pub outcome: Outcome,
}

/// How far the check came.
#[derive(Debug)]
pub enum Outcome {
    /// What it can do, and cannot.
    Probed(Vec<Finding>),
    /// A local folder that the server will create.
    NotThereYet,
    /// It cannot even be asked.
    Unusable(String),
}

impl Checked {
    /// Whether the server can use it.
    pub fn is_fit(&self) -> bool {
        match &self.outcome {
            Outcome::Probed(findings) => findings.iter().all(|f| f.problem.is_none()),
            Outcome::NotThereYet => true,
            Outcome::Unusable(_) => false,
        }
    }
}

/// Probes every location, all at once, for what a server does there: the primary
/// first, if it is one. Nodes are left out.
pub async fn check(config: &Config) -> Vec<Checked> {
    let sessions = Sessions::new(config.cache);
    let replicas: Vec<Location> = config.replicas_to_serve().collect();
    let locations = config.primary.location().into_iter().chain(&replicas);
    join_all(locations.map(|location| check_one(location, &sessions))).await
}

async fn check_one(location: &Location, sessions: &Sessions) -> Checked {
    let outcome = if is_missing_folder(location) {
        Outcome::NotThereYet
    } else {
        match Store::connect_existing(location, sessions).await {
            Ok(store) => Outcome::Probed(probe(&store, location).await),
            Err(e) => Outcome::Unusable(redacted(&in_words(&e.to_string()), location)),
        }
    };
    Checked {
        connection: location.name.clone(),
        uri: location.uri.clone(),
        outcome,
    }
}

fn is_missing_folder(location: &Location) -> bool {
    let path = Url::parse(&location.uri)
        .ok()
        .filter(|_| location.is_local());
    let path = path.and_then(|url| url.to_file_path().ok());
    path.is_some_and(|path| !Path::exists(&path))
}

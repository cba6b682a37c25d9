//! Whether a location does what is needed of it: asked with objects in a scratch
//! prefix of their own, which are deleted afterwards.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::ObjectStoreExt as _;
use tokio::time::timeout;

use super::{ObjectError, Objects, Store, advice};
use crate::{
    config::{Location, ReplicaMode},
    domain::{Error, Result},
};

/// How long one step may take. Without credentials a store's client asks where
/// there may be nobody to answer.
const STEP: Duration = Duration::from_secs(20);

/// Objects that several writers create at once, and how many writers.
const RACES: usize = 8;
const RACERS: usize = 12;

/// Bytes of the object that is written and read back.
const BODY: usize = 4096;

/// One thing that a location must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Answer at all, to these credentials.
    List,
    /// The same of a location that is only read.
    ListToRead,
    Write,
    Read,
    ReadRange,
    /// Refuse to create an object that is there.
    Condition,
    /// Let one of many writers create an object.
    OneWinner,
    /// Have versions committed by something else.
    CommitElsewhere,
    Delete,
}

impl Ability {
    /// In words, as in "cannot ...".
    pub fn as_str(self) -> &'static str {
        match self {
            Ability::List => "list",
            Ability::ListToRead => "list (it is only read: nothing else was tried)",
            Ability::Write => "write",
            Ability::Read => "read",
            Ability::ReadRange => "read a part of an object",
            Ability::Condition => "write only where nothing is",
            Ability::OneWinner => "let only one of many writers win",
            Ability::CommitElsewhere => {
                "find DynamoDB's table (that items may be put there was not tried)"
            }
            Ability::Delete => "delete",
        }
    }
}

/// What was found out about one ability.
#[derive(Debug)]
pub struct Finding {
    pub ability: Ability,
    /// What is wrong, and what to do about it; `None` if nothing is.
    pub problem: Option<String>,
}

/// What is wrong with a store that ignores conditions.
const IGNORES: &str = "the store ignores conditional writes (If-None-Match): two writers would overwrite each other's versions without an error. Use a store that knows them; for a primary on S3 without them: s3+ddb://bucket/path?ddbTableName=table";

/// Asks a location for everything that is needed of it, until it cannot do
/// something that the rest builds upon. One that is only read is only looked at: it
/// may be somebody else's, and take no writes.
pub async fn probe(store: &Store, location: &Location) -> Vec<Finding> {
    let objects = store.objects();
    let folder = format!("_lancegate/probe-{}", uuid::Uuid::new_v4());
    let mut probe = Probe {
        objects,
        location,
        findings: Vec::new(),
    };
    if location.mode != ReplicaMode::Managed {
        let listed = within(async { objects.list(&folder).await }).await;
        probe.note(Ability::ListToRead, listed);
        return probe.findings;
    }
    probe.steps(&folder).await;
    let swept = within(async { objects.delete_folder(&folder).await }).await;
    if probe.wrote() {
        probe.note(Ability::Delete, swept);
    }
    probe.findings
}

/// A failed step in words.
type Step<T> = std::result::Result<T, String>;

struct Probe<'a> {
    objects: &'a Objects,
    location: &'a Location,
    findings: Vec<Finding>,
}

impl Probe<'_> {
    /// Notes how a step went. Answers whether it went well.
    fn note<T>(&mut self, ability: Ability, went: Step<T>) -> Option<T> {
        let (found, problem) = match went {
            Ok(found) => (Some(found), None),
            Err(problem) => (None, Some(advice::redacted(&problem, self.location))),
        };
        self.findings.push(Finding { ability, problem });
        found
    }

    fn wrote(&self) -> bool {
        let written = |f: &Finding| f.ability == Ability::Write && f.problem.is_none();
        self.findings.iter().any(written)
    }

    async fn steps(&mut self, folder: &str) -> Option<()> {
        let objects = self.objects;
        let listed = within(async { objects.list(folder).await }).await;
        self.note(Ability::List, listed)?;

        let body: Bytes = (0..BODY).map(|i| (i % 251) as u8).collect();
        let path = format!("{folder}/object");
        let written = within(async { objects.put(&path, body.clone()).await }).await;
        self.note(Ability::Write, written)?;
        let read = within(async { objects.get(&path).await }).await;
        let read = read.and_then(|found| same(&found, &body));
        self.note(Ability::Read, read)?;
        let part = within(async {
            let full = objects.full(&path);
            let part = objects.store.inner.get_range(&full, 1000..2000).await;
            part.map_err(ObjectError::from)
        });
        let part = part.await.and_then(|found| same(&found, &body[1000..2000]));
        self.note(Ability::ReadRange, part);

        if self.location.commits_elsewhere() {
            // It was looked for when the location was opened. An item that is put there
            // to try it would stay: nothing here may delete one.
            return self.note(Ability::CommitElsewhere, Ok(()));
        }
        let kept = within(async { objects.keeps_what_is_there(folder).await }).await;
        let kept = kept.and_then(|kept| kept.then_some(()).ok_or_else(|| IGNORES.to_owned()));
        self.note(Ability::Condition, kept)?;
        let races = within_all(objects.races(folder)).await;
        self.note(Ability::OneWinner, races)
    }
}

fn same(found: &[u8], wanted: &[u8]) -> Step<()> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!(
            "what was written reads back as something else ({} bytes of {})",
            found.len(),
            wanted.len()
        )),
    }
}

/// A step, in time.
async fn within<T>(step: impl Future<Output = std::result::Result<T, ObjectError>>) -> Step<T> {
    match timeout(STEP, step).await {
        Ok(done) => done.map_err(|error| advice::of(&error)),
        Err(_) => Err(silent(STEP)),
    }
}

/// Several steps, in time for them all.
async fn within_all(steps: impl Future<Output = Step<()>>) -> Step<()> {
    let whole = STEP * 3;
    timeout(whole, steps)
        .await
        .unwrap_or_else(|_| Err(silent(whole)))
}

fn silent(limit: Duration) -> String {
    format!("no answer within {} s. {}", limit.as_secs(), advice::SILENT)
}

impl Objects {
    /// Whether an object that is there stays as it is when somebody creates it
    /// again. The objects for that are in `folder`, and stay there.
    async fn keeps_what_is_there(&self, folder: &str) -> std::result::Result<bool, ObjectError> {
        let path = format!("{folder}/condition");
        let first = Bytes::from_static(b"first");
        match self.create(&path, first.clone()).await {
            Ok(true) => {}
            // It was not there: a first answer was lost, and the store's client came
            // upon its own object; or this store says no to everything.
            Ok(false) => match self.get(&path).await {
                Ok(found) if found == first => {}
                Ok(_) | Err(ObjectError::NotFound(_)) => return Ok(false),
                Err(e) => return Err(e),
            },
            Err(e) if e.is_unknown_to_the_store() => return Ok(false),
            Err(e) => return Err(e),
        }
        let again = self.create(&path, Bytes::from_static(b"second")).await?;
        Ok(!again && self.get(&path).await? == first)
    }

    /// Many create one object at once: one of them may succeed, and its bytes must
    /// be there. A store may compare and write in two steps, and so let several win.
    async fn races(&self, folder: &str) -> Step<()> {
        for race in 0..RACES {
            let path = format!("{folder}/race-{race}");
            let racers = (0..RACERS).map(|racer| {
                let bytes = Bytes::from(format!("racer {racer}"));
                let path = &path;
                async move { (bytes.clone(), self.create(path, bytes).await) }
            });
            let mut winners = Vec::new();
            for (bytes, created) in join_all(racers).await {
                match created {
                    Ok(true) => winners.push(bytes),
                    Ok(false) => {}
                    Err(e) => return Err(advice::of(&e)),
                }
            }
            match winners.as_slice() {
                [] => {}
                [winner] => same(&self.get(&path).await.map_err(|e| advice::of(&e))?, winner)?,
                several => {
                    return Err(format!(
                        "{} of {RACERS} writers were told that they alone created one object: conditional writes of this store are not atomic, and versions would be lost. Use another store",
                        several.len()
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Store {
    /// Refuses a store that ignores conditional writes, by two writes of an object
    /// of its own. Local folders are known to be no such store.
    ///
    /// # Errors
    /// [`Error::Precondition`] for such a store; what the location answers.
    pub async fn must_know_conditions(&self, location: &Location) -> Result<()> {
        if location.is_local() {
            return Ok(());
        }
        let objects = self.objects();
        let folder = format!("_lancegate/probe-{}", uuid::Uuid::new_v4());
        let kept = objects.keeps_what_is_there(&folder).await;
        // Left there, as by somebody who is stopped before this line, it harms nothing.
        let _ = objects.delete(&format!("{folder}/condition")).await;
        match kept {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Precondition {
                reason: "CONDITIONAL_WRITES_IGNORED",
                message: format!("connection '{}': {IGNORES}", location.name),
            }),
            // Whoever may not write cannot lose anybody's writes.
            Err(e) if e.is_refusal() => Ok(()),
            Err(e) => Err(super::incarnation::unavailable(&e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::{self, Sources},
        storage::{Sessions, objects::tests::Faulty},
    };

    #[tokio::test]
    async fn a_local_folder_can_do_everything_and_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let config = config::load(Sources {
            data_dir: Some(folder.path().to_owned()),
            ..Sources::default()
        })
        .unwrap();
        let location = config.primary.location().unwrap();
        let store = Store::connect(location, &Sessions::new(config.cache))
            .await
            .unwrap();
        let findings = probe(&store, location).await;
        for finding in &findings {
            assert_eq!(finding.problem, None, "{:?}", finding.ability);
        }
        assert_eq!(findings.len(), 7);
        let left = store.objects().list("_lancegate").await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn of_a_location_that_is_only_read_nothing_else_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let config = config::load(Sources {
            data_dir: Some(folder.path().to_owned()),
            ..Sources::default()
        })
        .unwrap();
        for mode in [ReplicaMode::External, ReplicaMode::Shared] {
            let mut location = config.replicas[0].clone();
            location.mode = mode;
            let store = Store::connect(&location, &Sessions::new(config.cache))
                .await
                .unwrap();
            let findings = probe(&store, &location).await;
            let asked: Vec<_> = findings.iter().map(|f| (f.ability, &f.problem)).collect();
            assert_eq!(asked, [(Ability::ListToRead, &None)]);
        }
        let left = std::fs::read_dir(folder.path().join("replica-1")).unwrap();
        assert_eq!(left.count(), 0);
    }

    /// The client of a store repeats a request whose answer was lost.
    #[tokio::test]
    async fn an_object_of_our_own_is_no_reason_to_refuse_a_store() {
        let lost = Arc::new(Faulty {
            loses_an_answer: true.into(),
            ..Faulty::default()
        });
        assert!(lost.objects().keeps_what_is_there("x").await.unwrap());
        let nothing = Arc::new(Faulty {
            creates_nothing: true,
            ..Faulty::default()
        });
        assert!(!nothing.objects().keeps_what_is_there("x").await.unwrap());
    }
}

//! Which creation of its name a table is: an object in the table's own folder.
//! Dropping the table deletes it along with everything else, so a table created
//! again is known to be another one, whoever did it; and Lance's cleanup touches
//! only the folders that are Lance's.

use bytes::Bytes;

use super::{ObjectError, Objects, Store};
use crate::domain::{Error, Incarnation, Result, TableName};

/// Path of the object within a table's folder.
pub const MARKER: &str = "_lancegate/incarnation";

/// How often a table that is being re-created is looked at again.
const MAX_LOOKS: usize = 5;

fn path(table: &TableName) -> String {
    format!("{}/{MARKER}", Objects::table_folder(table))
}

impl Objects {
    /// The incarnation that is written in a table's folder, if one is.
    pub async fn incarnation(&self, table: &TableName) -> Result<Option<Incarnation>> {
        match self.get(&path(table)).await {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).ok();
                text.and_then(|t| Incarnation::parse(t.trim()))
                    .map(Some)
                    .ok_or_else(|| Error::Corrupt(format!("the incarnation of table '{table}'")))
            }
            Err(ObjectError::NotFound(_)) => Ok(None),
            Err(e) => Err(unavailable(&e)),
        }
    }
}

impl Store {
    /// The incarnation that is written in a table's folder, if one is.
    pub async fn incarnation(&self, table: &TableName) -> Result<Option<Incarnation>> {
        self.objects().incarnation(table).await
    }

    /// Writes an incarnation into a table's folder unless there is one. Answers
    /// the one that is there then.
    pub async fn mark(&self, table: &TableName, incarnation: Incarnation) -> Result<Incarnation> {
        let text = Bytes::from(incarnation.to_string());
        match self.objects().put_if_absent(&path(table), text).await {
            Ok(true) => Ok(incarnation),
            Ok(false) => {
                let found = self.incarnation(table).await?;
                found.ok_or_else(|| Error::Conflict(format!("table '{table}' was dropped")))
            }
            Err(e) => Err(unavailable(&e)),
        }
    }

    /// Takes the incarnation out of a table's folder.
    pub async fn unmark(&self, table: &TableName) -> Result<(), ObjectError> {
        self.objects().delete(&path(table)).await
    }

    /// Opens something of a table together with its incarnation. The two are
    /// read one after the other: looked at again where the table was re-created
    /// in between.
    pub(super) async fn with_incarnation<T, F>(
        &self,
        table: &TableName,
        open: impl Fn() -> F,
    ) -> Result<(T, Incarnation)>
    where
        F: Future<Output = Result<T>>,
    {
        for _ in 0..MAX_LOOKS {
            let before = self.incarnation(table).await?;
            let opened = open().await?;
            if self.incarnation(table).await? == before {
                return Ok((opened, before.unwrap_or(Incarnation::UNKNOWN)));
            }
        }
        Err(Error::Conflict(format!(
            "table '{table}' is being re-created"
        )))
    }
}

pub(super) fn unavailable(error: &ObjectError) -> Error {
    tracing::warn!(detail = %error, "object store error");
    Error::Unavailable {
        reason: "STORAGE_UNAVAILABLE",
        message: "the location did not answer as it should".into(),
        retry_after: std::time::Duration::from_secs(1),
    }
}

//! How far a table may have been pruned: numbers in the primary's location that
//! only ever grow.
//!
//! A version is deleted only after a floor above it was written, and after the
//! pins were listed that were there then. Whoever pins a version writes the pin
//! first and reads the floor after. So of a deletion and a pin at the same time
//! one sees the other, without locks and without comparing clocks.
//!
//! Each floor is an object of its own, `_lancegate/floors/<table>/<incarnation>-
//! <version>`, and the highest counts. Nothing is overwritten, and only lower ones
//! are deleted, so that two who write at once cannot make it go down.

use bytes::Bytes;

use super::{ObjectError, Store};
use crate::domain::{Incarnation, Position, Result, TableName};

const FOLDER: &str = "_lancegate/floors";

fn folder(table: &TableName) -> String {
    format!("{FOLDER}/{table}")
}

fn path(table: &TableName, floor: Position) -> String {
    let Position {
        incarnation,
        version,
    } = floor;
    format!("{}/{incarnation}-{version:020}", folder(table))
}

/// The floor that an object's name says.
fn parse(path: &str) -> Option<Position> {
    let (incarnation, version) = path.rsplit('/').next()?.rsplit_once('-')?;
    Some(Position {
        incarnation: Incarnation::parse(incarnation)?,
        version: version.parse().ok()?,
    })
}

impl Store {
    /// Announces that the versions of a table below `floor` may be deleted.
    /// Tags, pins and branches may still hold some of them. A floor that is lower
    /// than the present one changes nothing.
    ///
    /// # Errors
    /// The location did not do what was asked.
    pub async fn write_floor(&self, table: &TableName, floor: Position) -> Result<()> {
        let path = path(table, floor);
        let written = self.objects().put_if_absent(&path, Bytes::new()).await;
        written.map_err(|e| super::incarnation::unavailable(&e))?;
        self.delete_passed_floors(table).await
    }

    /// The version below which those of a table may be deleted, or are; 0 if none
    /// may.
    ///
    /// # Errors
    /// The location did not do what was asked.
    pub async fn read_floor(&self, table: &TableName, incarnation: Incarnation) -> Result<u64> {
        let floors = self.floors(table).await?;
        let own = floors.iter().filter(|f| f.incarnation == incarnation);
        Ok(own.map(|floor| floor.version).max().unwrap_or(0))
    }

    async fn floors(&self, table: &TableName) -> Result<Vec<Position>> {
        let found = self.objects().list(&folder(table)).await;
        let found = found.map_err(|e| super::incarnation::unavailable(&e))?;
        Ok(found.keys().filter_map(|path| parse(path)).collect())
    }

    /// Deletes the floors below the highest one, and those of earlier creations
    /// of the table.
    async fn delete_passed_floors(&self, table: &TableName) -> Result<()> {
        let floors = self.floors(table).await?;
        // After they were listed: those of a later creation are not among them.
        let present = self.incarnation(table).await?;
        for floor in &floors {
            let higher =
                |f: &Position| f.incarnation == floor.incarnation && f.version > floor.version;
            let of_another = present.is_some_and(|present| present != floor.incarnation);
            if of_another || floors.iter().any(higher) {
                let deleted: Result<(), ObjectError> =
                    self.objects().delete(&path(table, *floor)).await;
                deleted.map_err(|e| super::incarnation::unavailable(&e))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::local;

    #[tokio::test]
    async fn floors_only_grow() {
        let (_folder, store) = local().await;
        let table = TableName::parse("t").unwrap();
        let first = Incarnation::fresh();
        let at = |incarnation, version| Position {
            incarnation,
            version,
        };
        store.mark(&table, first).await.unwrap();
        assert_eq!(store.read_floor(&table, first).await.unwrap(), 0);
        for (written, floor) in [(5, 5), (3, 5), (5, 5), (100, 100), (9, 100)] {
            store.write_floor(&table, at(first, written)).await.unwrap();
            let found = store.read_floor(&table, first).await.unwrap();
            assert_eq!(found, floor, "after {written}");
            assert_eq!(store.floors(&table).await.unwrap().len(), 1);
        }
        // Created anew: its versions begin again, and so does the floor.
        let second = Incarnation::fresh();
        store.unmark(&table).await.unwrap();
        store.mark(&table, second).await.unwrap();
        assert_eq!(store.read_floor(&table, second).await.unwrap(), 0);
        store.write_floor(&table, at(second, 2)).await.unwrap();
        let floors = store.floors(&table).await.unwrap();
        assert_eq!(floors, [at(second, 2)]);
    }
}

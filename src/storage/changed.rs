//! How many rows a change would be of, before it is made.

use super::{
    Handle, Rules,
    filter::{Bound, blame},
};
use crate::domain::{Filter, Result};

impl Handle {
    /// Rows that a filter matches among those that are there; all of them without one.
    pub async fn count(&self, filter: Option<&Filter>, rules: &Rules) -> Result<u64> {
        let filter = filter.map(|filter| Bound::filter(filter, rules));
        let filter = filter.transpose()?;
        let filter = match self.view().await? {
            Some(view) => view.narrow(filter)?,
            None => filter,
        };
        Ok(self.count_bound(filter.as_ref()).await? as u64)
    }

    /// The same for a filter within what is there.
    pub(super) async fn count_bound(&self, filter: Option<&Bound>) -> Result<usize> {
        let rows = self.table.count_rows(filter.map(|f| f.sql.clone())).await;
        rows.map_err(|e| blame(&self.name, filter, e))
    }
}

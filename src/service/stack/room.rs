//! What one answer may take: of the memory of all answers, and of the quota of whoever
//! asks.

use tonic::Extensions;

use super::{Allowed, AnswerHold};
use crate::{
    domain::Result,
    storage::{Batches, Rows},
};

/// The bounds of one answer.
#[derive(Debug, Clone, Default)]
pub struct Room {
    hold: AnswerHold,
    allowed: Allowed,
}

impl Room {
    /// Those of a request.
    pub fn of(extensions: &Extensions) -> Self {
        Self {
            hold: AnswerHold::of(extensions),
            allowed: Allowed::of(extensions),
        }
    }

    /// Waits for the rows of a whole answer, of `most` bytes in any case.
    ///
    /// # Errors
    /// Those of the rows, and that there are more than there may be.
    pub async fn collect(&self, found: Batches, most: usize) -> Result<Rows> {
        let rows = self.collect_page(found, most).await?;
        self.rows(rows.num_rows() as u64)?;
        Ok(rows)
    }

    /// The same for a page, which has one row more than is answered.
    ///
    /// # Errors
    /// As above, but for the number of rows.
    pub async fn collect_page(&self, found: Batches, most: usize) -> Result<Rows> {
        found.collect_with(most, self.counting()).await
    }

    /// Counts the bytes of rows as they come, and refuses those that are too many.
    pub fn counting(&self) -> impl FnMut(usize) -> Result<()> {
        let mut sum = 0u64;
        move |bytes| {
            sum = sum.saturating_add(bytes as u64);
            self.allowed.bytes(sum)?;
            self.hold.add_rows(bytes)
        }
    }

    /// The size of a page that may have this one.
    pub fn page(&self, size: usize) -> usize {
        self.allowed.page(size)
    }

    /// Bytes of rows, of `limit` in any case.
    pub fn most(&self, limit: usize) -> usize {
        self.allowed.answer_bytes(limit)
    }

    /// # Errors
    /// An answer may not have so many rows.
    pub fn rows(&self, rows: u64) -> Result<()> {
        self.allowed.rows(rows)
    }

    /// What was found out of an answer before it was read, with [`Room::most`] bytes of
    /// rows as the bound: told in the words of the quota where it is that one's.
    ///
    /// # Errors
    /// Those that there were.
    pub fn told<T>(&self, limit: usize, outcome: Result<T>) -> Result<T> {
        self.allowed.told(limit, outcome)
    }

    /// Waits until there is memory for the next part of a stream.
    pub async fn next_part(&self, bytes: usize) {
        self.hold.next_part(bytes).await;
    }
}

//! A line in which clients take turns: one that sends a thousand requests waits
//! behind its own, not before those of the others.
//!
//! Within a client the oldest goes first. Once its oldest has waited for long,
//! there is a standing queue, and most of who is in it may have given up: then the
//! newest and the oldest go alternately. Newest first alone would answer some
//! callers at once and starve others that are as steady.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::Client;

/// Somebody who waits.
#[derive(Debug)]
pub struct Waiter<W> {
    /// Grows from waiter to waiter.
    pub ticket: u64,
    pub client: Client,
    pub since: Instant,
    /// Until when it waits.
    pub until: Instant,
    /// When nobody wants its answer any more.
    pub deadline: Option<Instant>,
    pub who: W,
}

/// The waiters of one client, the oldest first.
#[derive(Debug)]
struct Line<W> {
    waiting: VecDeque<Waiter<W>>,
    /// Whose turn it is where both take turns.
    newest_next: bool,
}

/// Waiters of one lane, by client.
#[derive(Debug)]
pub struct FairQueue<W> {
    lines: HashMap<Client, Line<W>>,
    /// Clients with waiters, the next one first; each once.
    turns: VecDeque<Client>,
    len: usize,
}

impl<W> Default for FairQueue<W> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }
}

impl<W> FairQueue<W> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of a client's wait.
    pub fn of(&self, client: Client) -> usize {
        self.lines.get(&client).map_or(0, |l| l.waiting.len())
    }

    /// How many clients have waiters.
    pub fn clients(&self) -> usize {
        self.turns.len()
    }

    /// The last in its client's line.
    pub fn push(&mut self, waiter: Waiter<W>) {
        let client = waiter.client;
        self.len += 1;
        if let Some(line) = self.lines.get_mut(&client) {
            line.waiting.push_back(waiter);
            return;
        }
        let line = Line {
            waiting: VecDeque::from([waiter]),
            newest_next: true,
        };
        self.lines.insert(client, line);
        self.turns.push_back(client);
    }

    /// The next to go: of the next client in turn the oldest or, where that has
    /// waited for `standing`, alternately the newest.
    pub fn pop(&mut self, standing: Duration, now: Instant) -> Option<Waiter<W>> {
        let client = self.turns.pop_front()?;
        let line = self.lines.get_mut(&client)?;
        let oldest = line.waiting.front()?.since;
        let newest = now.duration_since(oldest) >= standing && line.newest_next;
        let waiter = if newest {
            line.waiting.pop_back()
        } else {
            line.waiting.pop_front()
        };
        line.newest_next = !newest;
        if line.waiting.is_empty() {
            self.lines.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.len -= 1;
        waiter
    }

    /// Takes one out of the line.
    pub fn remove(&mut self, client: Client, ticket: u64) -> Option<Waiter<W>> {
        let line = self.lines.get_mut(&client)?;
        let at = line.waiting.binary_search_by_key(&ticket, |w| w.ticket);
        let waiter = line.waiting.remove(at.ok()?);
        self.len -= 1;
        self.forget_if_empty(client);
        waiter
    }

    /// The client with the longest line, and how long that is.
    pub fn longest(&self) -> Option<(Client, usize)> {
        // In the order of turns, which is the same in every run.
        let lines = self.turns.iter().map(|client| (*client, self.of(*client)));
        lines.max_by_key(|(_, length)| *length)
    }

    /// Takes out the last of a client's line.
    pub fn remove_newest(&mut self, client: Client) -> Option<Waiter<W>> {
        let waiter = self.lines.get_mut(&client)?.waiting.pop_back();
        self.len -= 1;
        self.forget_if_empty(client);
        waiter
    }

    fn forget_if_empty(&mut self, client: Client) {
        if self.of(client) == 0 {
            self.lines.remove(&client);
            self.turns.retain(|c| *c != client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    fn client(n: u8) -> Client {
        Client::of(Some([10, 0, 0, n].into()))
    }

    fn queue(now: Instant, waiters: &[(u64, u8)]) -> FairQueue<u64> {
        let mut queue = FairQueue::default();
        for (ticket, who) in waiters {
            queue.push(Waiter {
                ticket: *ticket,
                client: client(*who),
                since: now,
                until: now + LONG * 10,
                deadline: None,
                who: *ticket,
            });
        }
        queue
    }

    fn all(queue: &mut FairQueue<u64>, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(LONG, now))
            .map(|w| w.who)
            .collect()
    }

    #[test]
    fn clients_take_turns_and_each_ones_oldest_goes_first() {
        let now = Instant::now();
        let mut queue = queue(now, &[(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 2)]);
        assert_eq!((queue.len(), queue.clients()), (6, 3));
        assert_eq!(all(&mut queue, now), [1, 4, 5, 2, 6, 3]);
        assert!(queue.is_empty() && queue.clients() == 0);
    }

    #[test]
    fn in_a_standing_queue_the_newest_and_the_oldest_go_alternately() {
        let now = Instant::now();
        let mut queue = queue(now, &[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(all(&mut queue, now + LONG), [5, 1, 4, 2, 3]);
    }

    #[test]
    fn one_who_leaves_is_gone_and_the_others_stay() {
        let now = Instant::now();
        let mut queue = queue(now, &[(1, 1), (2, 1), (3, 2), (4, 1)]);
        assert_eq!(queue.remove(client(1), 2).unwrap().who, 2);
        assert!(queue.remove(client(1), 2).is_none());
        assert!(queue.remove(client(9), 1).is_none());
        assert_eq!(queue.longest(), Some((client(1), 2)));
        assert_eq!(queue.remove_newest(client(1)).unwrap().who, 4);
        assert_eq!(queue.remove(client(2), 3).unwrap().who, 3);
        assert_eq!((queue.len(), queue.clients()), (1, 1));
        assert_eq!(all(&mut queue, now), [1]);
    }
}

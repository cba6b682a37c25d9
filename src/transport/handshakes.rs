//! Whose handshake is next: so many at once, and so many of one client. The others wait.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::admission::{Client, OnePlace, Places};

const ALL: usize = 1_024;
const OF_ONE: usize = 256;

/// How often it is looked whether there is a turn.
const LOOK: Duration = Duration::from_millis(100);

/// The handshakes of one port.
#[derive(Clone, Default)]
pub(super) struct Handshakes(Arc<Places>);

impl Handshakes {
    /// Waits for the turn of a client, which lasts until it is dropped.
    pub(super) async fn turn(&self, client: Client) -> OnePlace {
        loop {
            match self.0.enter(client, ALL, OF_ONE) {
                Ok(turn) => return turn,
                Err(_) => sleep(LOOK).await,
            }
        }
    }
}

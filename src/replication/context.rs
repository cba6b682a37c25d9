//! What the work on one replica needs.

use std::sync::Arc;

use super::{drop::Dropper, lease::Turn};
use crate::{
    config::Replication,
    connection::{Connection, Primary},
    storage::{Pace, Store},
};

/// One replica and what it is kept true to.
pub(super) struct Context<'a> {
    pub primary: &'a Primary,
    pub source: &'a Store,
    pub replica: &'a Connection,
    pub target: &'a Arc<Store>,
    pub options: Replication,
    pub pace: &'a Pace,
    pub dropper: &'a Dropper,
    pub turn: &'a Turn,
}

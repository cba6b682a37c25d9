//! Who may begin, who waits, and who is refused: decided purely, on values that
//! are passed in. No I/O, no clock and no tasks; the layer around it has those.
//!
//! [`gradient`] finds how many reads this machine can work on at once, [`queue`]
//! lets those that are too many wait in a fair order, [`gate`] puts the two
//! together, and [`budget`] bounds the memory of answers. [`places`] counts what is bounded
//! by its number, in all and by client.

pub mod budget;
pub mod gate;
pub mod gradient;
pub mod lane;
pub mod places;
pub mod queue;
pub mod quotas;

pub use budget::{AnswerBudget, Share};
pub use gate::{Arrival, Ask, Facts, Gate, Left, Place, Refusal, Told, Why};
pub use gradient::Signal;
pub use lane::{Client, Kind, Lane, Priority};
pub use places::{Full, OnePlace, Places};
pub use quotas::{Begun, Identity, Over, Quotas};

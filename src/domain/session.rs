//! Sessions: leases on one version of a table. All that a read needs to know of
//! one is in its text, sealed as tokens are: no router has to remember it.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{
    Position, TableName, TokenFault, TokenKey,
    token::{position_in, put_position},
};

/// First byte: what is sealed.
const SESSION: u8 = 2;

/// First byte, table (8 bytes), incarnation (16), version (8), id (16), end (8).
const LENGTH: usize = 1 + 8 + 16 + 8 + 16 + 8;

/// A lease on one version of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub position: Position,
    /// Whole milliseconds since 1970.
    pub expires: SystemTime,
}

impl Session {
    /// A session that ends `ttl` from now.
    pub fn new(id: Uuid, position: Position, ttl: Duration) -> Self {
        let ends = (SystemTime::now() + ttl).duration_since(SystemTime::UNIX_EPOCH);
        let millis = ends.unwrap_or_default().as_millis();
        let expires = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        Self {
            id,
            position,
            expires: SystemTime::UNIX_EPOCH + expires,
        }
    }

    /// Whether it has ended.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires <= now
    }
}

impl TokenKey {
    /// A session as text.
    pub fn seal_session(&self, table: &TableName, session: &Session) -> String {
        let mut body = [0; LENGTH];
        put_position(&mut body, &session.position);
        body[33..49].copy_from_slice(session.id.as_bytes());
        let ends = session.expires.duration_since(SystemTime::UNIX_EPOCH);
        let millis = u64::try_from(ends.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        body[49..57].copy_from_slice(&millis.to_le_bytes());
        self.close(SESSION, table, body)
    }

    /// The session of this table that a text stands for, expired or not.
    pub fn open_session(&self, table: &TableName, text: &str) -> Result<Session, TokenFault> {
        let body: [u8; LENGTH] = self.uncover(SESSION, table, text)?;
        let (mut id, mut millis) = ([0; 16], [0; 8]);
        id.copy_from_slice(&body[33..49]);
        millis.copy_from_slice(&body[49..57]);
        let ends = Duration::from_millis(u64::from_le_bytes(millis));
        let expires = SystemTime::UNIX_EPOCH.checked_add(ends);
        Ok(Session {
            id: Uuid::from_bytes(id),
            position: position_in(&body),
            // Nobody seals such a time.
            expires: expires.ok_or(TokenFault::NotOurs)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Incarnation;

    #[test]
    fn a_session_says_what_it_was_opened_for_and_is_no_token() {
        let table = TableName::parse("t").unwrap();
        let key = TokenKey::of("p");
        let position = Position {
            incarnation: Incarnation::fresh(),
            version: 9,
        };
        let session = Session::new(Uuid::new_v4(), position, Duration::from_secs(60));
        let text = key.seal_session(&table, &session);
        assert_eq!(text.len(), 92);
        assert_eq!(key.open_session(&table, &text), Ok(session));
        assert!(!session.has_expired(SystemTime::now()));
        assert!(session.has_expired(session.expires));
        let other = TableName::parse("u").unwrap();
        assert_eq!(key.open_session(&other, &text), Err(TokenFault::OtherTable));
        let token = key.seal(&table, &position);
        for (key, text) in [(&key, &token), (&TokenKey::of("q"), &text)] {
            assert_eq!(key.open_session(&table, text), Err(TokenFault::NotOurs));
        }
        assert_eq!(key.open(&table, &text), Err(TokenFault::NotOurs));
    }
}

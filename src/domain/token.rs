//! Tokens: what a write or a read saw, as opaque text that any router of the same
//! primary understands. They are sealed with a key that every such router can
//! derive and a client cannot, so a made-up one is found out.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Incarnation, Position, TableName};

/// First byte: what is sealed.
const TOKEN: u8 = 1;

/// Bytes of the seal: 96 bits leave no hope of guessing one.
const SEAL: usize = 12;

/// First byte, table (8 bytes), incarnation (16), version (8).
const LENGTH: usize = 1 + 8 + 16 + 8;

/// Longest text that is unsealed, in bytes before their base64.
const LONGEST: usize = 128;

/// What the key is derived for; see the documentation of BLAKE3's key derivation.
const CONTEXT: &str = "lancegate 2026-11-21 read-your-writes token";

/// Seals and opens the tokens of one primary.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Why a token was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Damaged, made up, or of another primary.
    #[error("was not issued by this primary")]
    NotOurs,
    /// Of another table.
    #[error("was issued for another table")]
    OtherTable,
}

impl TokenKey {
    /// The key of the primary with this identity.
    pub fn of(identity: &str) -> Self {
        Self(blake3::derive_key(CONTEXT, identity.as_bytes()))
    }

    /// The token of a position of a table.
    pub fn seal(&self, table: &TableName, position: &Position) -> String {
        let mut body = [0; LENGTH];
        put_position(&mut body, position);
        self.close(TOKEN, table, body)
    }

    /// The position of this table that a token stands for.
    pub fn open(&self, table: &TableName, token: &str) -> Result<Position, TokenFault> {
        let body: [u8; LENGTH] = self.uncover(TOKEN, table, token)?;
        Ok(position_in(&body))
    }

    /// Seals a body whose first 9 bytes are free: for what it is, and the table.
    pub(super) fn close<const N: usize>(
        &self,
        kind: u8,
        table: &TableName,
        mut body: [u8; N],
    ) -> String {
        body[0] = kind;
        body[1..9].copy_from_slice(&table_print(table));
        let seal = blake3::keyed_hash(&self.0, &body);
        let bytes = [&body, &seal.as_bytes()[..SEAL]].concat();
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The body that was sealed as this, for this table.
    pub(super) fn uncover<const N: usize>(
        &self,
        kind: u8,
        table: &TableName,
        text: &str,
    ) -> Result<[u8; N], TokenFault> {
        let mut bytes = [0; LONGEST];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(length) if length == N + SEAL => {}
            _ => return Err(TokenFault::NotOurs),
        }
        let mut body = [0; N];
        body.copy_from_slice(&bytes[..N]);
        let expected = blake3::keyed_hash(&self.0, &body);
        // BLAKE3's own comparison of whole hashes takes the same time whatever
        // differs; so does this one.
        let differs = expected.as_bytes()[..SEAL]
            .iter()
            .zip(&bytes[N..])
            .fold(0, |all, (a, b)| all | (a ^ b));
        if differs != 0 || body[0] != kind {
            return Err(TokenFault::NotOurs);
        }
        if body[1..9] != table_print(table) {
            return Err(TokenFault::OtherTable);
        }
        Ok(body)
    }
}

/// Puts a position where all bodies have it: after the table.
pub(super) fn put_position(body: &mut [u8], position: &Position) {
    body[9..25].copy_from_slice(position.incarnation.as_bytes());
    body[25..33].copy_from_slice(&position.version.to_le_bytes());
}

/// The position in a body.
pub(super) fn position_in(body: &[u8]) -> Position {
    let (mut incarnation, mut version) = ([0; 16], [0; 8]);
    incarnation.copy_from_slice(&body[9..25]);
    version.copy_from_slice(&body[25..33]);
    Position {
        incarnation: Incarnation::from_bytes(incarnation),
        version: u64::from_le_bytes(version),
    }
}

/// 64 bits of a table's name.
fn table_print(table: &TableName) -> [u8; 8] {
    let mut print = [0; 8];
    print.copy_from_slice(&blake3::hash(table.as_str().as_bytes()).as_bytes()[..8]);
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_primary_and_table_take_a_token() {
        let (table, other) = (
            TableName::parse("t").unwrap(),
            TableName::parse("u").unwrap(),
        );
        let key = TokenKey::of("primary-a");
        let position = Position {
            incarnation: Incarnation::fresh(),
            version: u64::MAX - 1,
        };
        let token = key.seal(&table, &position);
        assert_eq!(token.len(), 60);
        assert_eq!(key.open(&table, &token), Ok(position));
        assert_eq!(TokenKey::of("primary-a").open(&table, &token), Ok(position));
        assert_eq!(key.open(&other, &token), Err(TokenFault::OtherTable));
        assert_eq!(
            TokenKey::of("primary-b").open(&table, &token),
            Err(TokenFault::NotOurs)
        );
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let table = TableName::parse("t").unwrap();
        let key = TokenKey::of("p");
        let position = Position {
            incarnation: Incarnation::fresh(),
            version: 7,
        };
        let token = key.seal(&table, &position);
        for i in 0..token.len() {
            let mut bad = token.clone().into_bytes();
            bad[i] = if bad[i] == b'B' { b'C' } else { b'B' };
            let bad = String::from_utf8(bad).unwrap();
            assert_eq!(key.open(&table, &bad), Err(TokenFault::NotOurs), "{i}");
        }
        for bad in ["", "x", &token[1..], &"A".repeat(100_000), "ä"] {
            assert_eq!(key.open(&table, bad), Err(TokenFault::NotOurs));
        }
    }
}

//! Requests that may be repeated: what identifies one, and what became of it.

use std::time::SystemTime;

use super::{Error, Result};

/// Longest id of a request, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// What a client calls one write, so that it can repeat it: 1 to 128 printable
/// ASCII characters, such as a UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Checks an id that came in as request field `request_id`; `None` if there is
    /// none.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
        if text.len() > MAX_REQUEST_ID || !printable {
            let fault = "must be 1 to 128 printable ASCII characters, such as a UUID";
            return Err(Error::invalid("request_id", fault));
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same id of somebody in particular: what two of them call alike is not the
    /// same request.
    pub fn owned_by(&self, owner: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(owner.len() as u64).to_le_bytes());
        hasher.update(owner.as_bytes());
        hasher.update(self.0.as_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    /// 128 bits that stand for it: nobody finds two ids that share them.
    pub fn key(&self) -> u128 {
        first_bits(&blake3::hash(self.0.as_bytes()))
    }
}

/// Which kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    Insert,
    Upsert,
    Update,
    Delete,
    Import,
}

impl WriteKind {
    const ALL: [Self; 5] = [
        Self::Insert,
        Self::Upsert,
        Self::Update,
        Self::Delete,
        Self::Import,
    ];

    /// The word that is recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Import => "import",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a request asks for, in 128 bits: nobody finds another one that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Of everything that was hashed.
    pub fn of(hasher: &blake3::Hasher) -> Self {
        Self(first_bits(&hasher.finalize()))
    }

    /// As 32 hexadecimal digits.
    pub fn to_text(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Of [`Digest::to_text`].
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

fn first_bits(hash: &blake3::Hash) -> u128 {
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bits)
}

/// One write that may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRequest {
    pub id: RequestId,
    pub kind: WriteKind,
    /// Of everything that it asks for, without the id.
    pub digest: Digest,
}

/// Rows that a write touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// What became of a request with an id: recorded with its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    pub kind: WriteKind,
    pub digest: Digest,
    pub counts: Counts,
    /// The version of the table that it made.
    pub version: u64,
    /// When that was committed.
    pub at: SystemTime,
}

/// The answer to a write with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub counts: Counts,
    /// The version of the table that it made.
    pub version: u64,
    /// Whether an earlier request with the same id did it.
    pub repeated: bool,
}

impl Recorded {
    /// What a request under the id of this one is answered.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] if it asks for something else.
    pub fn answer(&self, request: &WriteRequest) -> Result<Done> {
        match self.kind == request.kind && self.digest == request.digest {
            true => Ok(self.done(true)),
            false => Err(Error::RequestIdReused),
        }
    }

    /// As an answer.
    pub fn done(&self, repeated: bool) -> Done {
        Done {
            counts: self.counts,
            version: self.version,
            repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_printable_and_short() {
        assert_eq!(RequestId::parse(""), Ok(None));
        let long = "x".repeat(129);
        for bad in ["a\nb", "\u{7f}", "ä", "a\0", long.as_str()] {
            assert!(RequestId::parse(bad).is_err(), "{bad:?} was taken");
        }
        let longest = "x".repeat(128);
        for good in ["1", " ", "order 7/~", longest.as_str()] {
            let id = RequestId::parse(good).unwrap().unwrap();
            assert_eq!(id.as_str(), good);
        }
    }

    #[test]
    fn only_the_same_request_is_a_repeat() {
        let digest = |bytes: &[u8]| Digest::of(blake3::Hasher::new().update(bytes));
        assert_eq!(
            Digest::parse(&digest(b"a").to_text()),
            Some(digest(b"a")),
            "a digest is read back"
        );
        let recorded = Recorded {
            kind: WriteKind::Insert,
            digest: digest(b"a"),
            counts: Counts {
                inserted: 3,
                ..Counts::default()
            },
            version: 7,
            at: SystemTime::UNIX_EPOCH,
        };
        let request = |kind, bytes| WriteRequest {
            id: RequestId("id".into()),
            kind,
            digest: digest(bytes),
        };
        let done = recorded.answer(&request(WriteKind::Insert, b"a")).unwrap();
        assert!(done.repeated && done.version == 7 && done.counts.inserted == 3);
        for other in [
            request(WriteKind::Insert, b"b"),
            request(WriteKind::Upsert, b"a"),
        ] {
            assert_eq!(recorded.answer(&other), Err(Error::RequestIdReused));
        }
        for kind in WriteKind::ALL {
            assert_eq!(WriteKind::parse(kind.as_str()), Some(kind));
        }
    }
}

//! Page tokens: opaque to clients, checked when they come back. They are not
//! secret and not signed: a forged one reads what its sender may read anyway.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::domain::{Error, Result};

/// Longest token that is looked at: one with the longest table name fits.
const MAX_TOKEN: usize = 512;

/// First byte of a token: which kind it is, and so which format.
const OFFSET_KIND: u8 = 1;
const NAME_KIND: u8 = 2;

/// Where the next page of a scan or a list of versions begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageToken {
    /// Version of the table that all pages are of.
    pub version: u64,
    /// When that version was committed, in nanoseconds since 1970: a table that
    /// was dropped and created again has the same version numbers.
    pub commit_nanos: u64,
    /// Rows before the next page.
    pub offset: u64,
    /// [`fingerprint`] of the request without its paging.
    pub fingerprint: u64,
}

impl PageToken {
    /// The token for the client.
    pub fn encode(&self) -> String {
        let parts = [
            self.version,
            self.commit_nanos,
            self.offset,
            self.fingerprint,
        ]
        .map(u64::to_le_bytes);
        seal(OFFSET_KIND, parts.as_flattened())
    }

    /// Reads field `page_token` of a request with this fingerprint; `None` where it
    /// is empty, for the first page.
    pub fn decode(token: &str, fingerprint: u64) -> Result<Option<Self>> {
        if token.is_empty() {
            return Ok(None);
        }
        let body = open(OFFSET_KIND, token)?;
        let ([version, commit_nanos, offset, found], []) = body.as_chunks::<8>() else {
            return Err(not_ours());
        };
        let token = PageToken {
            version: u64::from_le_bytes(*version),
            commit_nanos: u64::from_le_bytes(*commit_nanos),
            offset: u64::from_le_bytes(*offset),
            fingerprint: u64::from_le_bytes(*found),
        };
        if token.fingerprint != fingerprint {
            let fault = "is of another request: only page_size may change between pages";
            return Err(Error::invalid("page_token", fault));
        }
        Ok(Some(token))
    }
}

/// The token of a page of names: the last one that was sent.
pub fn encode_name(last: &str) -> String {
    seal(NAME_KIND, last.as_bytes())
}

/// Reads field `page_token` of a list of names: those after this one come next.
/// `None` where it is empty, for the first page.
pub fn decode_name(token: &str) -> Result<Option<String>> {
    if token.is_empty() {
        return Ok(None);
    }
    String::from_utf8(open(NAME_KIND, token)?)
        .map(Some)
        .map_err(|_| not_ours())
}

/// What a request asks for, as a number: two requests that differ have different
/// ones but by chance. Paging fields must not be among `parts`.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = FNV_BASIS;
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash = fnv(fnv(hash, &(part.len() as u64).to_le_bytes()), part);
    }
    hash
}

/// The 64-bit basis of FNV-1a (draft-eastlake-fnv), a hash that is the same in
/// every build: a token may come back to another server.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(hash, step)
}

/// Kind, body and 4 bytes that tell a damaged token from a good one, in base64url.
fn seal(kind: u8, body: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(1 + body.len() + 4);
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&guard(&bytes));
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn open(kind: u8, token: &str) -> Result<Vec<u8>> {
    if token.len() > MAX_TOKEN {
        return Err(not_ours());
    }
    let mut bytes = BASE64_URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| not_ours())?;
    match bytes.split_last_chunk::<4>() {
        Some((sealed, guarded)) if guard(sealed) == *guarded && sealed.first() == Some(&kind) => {
            bytes.truncate(bytes.len() - 4);
            bytes.remove(0);
            Ok(bytes)
        }
        _ => Err(not_ours()),
    }
}

fn guard(bytes: &[u8]) -> [u8; 4] {
    let hash = fnv(FNV_BASIS, bytes);
    ((hash >> 32) as u32 ^ hash as u32).to_le_bytes()
}

fn not_ours() -> Error {
    Error::invalid("page_token", "is not a token of this call")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::fields;

    const TOKEN: PageToken = PageToken {
        version: u64::MAX,
        commit_nanos: 99,
        offset: 12_345,
        fingerprint: 77,
    };

    #[test]
    fn comes_back_as_it_went() {
        assert_eq!(PageToken::decode(&TOKEN.encode(), 77), Ok(Some(TOKEN)));
        assert_eq!(PageToken::decode("", 77), Ok(None));
        let name = "a".repeat(200);
        assert_eq!(decode_name(&encode_name(&name)), Ok(Some(name)));
        assert_eq!(decode_name(""), Ok(None));
    }

    #[test]
    fn bad_tokens_are_refused() {
        let good = TOKEN.encode();
        assert_eq!(fields(PageToken::decode(&good, 78)), ["page_token"]);
        let other_kind = encode_name("packages");
        let long = "A".repeat(100_000);
        for bad in [
            "x",
            "!!!!",
            "AAAA",
            "AQ",
            &good[1..],
            &other_kind,
            &long,
            "ä",
        ] {
            assert_eq!(fields(PageToken::decode(bad, 77)), ["page_token"], "{bad}");
        }
        assert_eq!(fields(decode_name(&good)), ["page_token"]);
        // Every single changed character is noticed.
        for i in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[i] = if bad[i] == b'B' { b'C' } else { b'B' };
            let bad = String::from_utf8(bad).unwrap();
            assert_eq!(fields(PageToken::decode(&bad, 77)), ["page_token"], "{bad}");
        }
    }

    #[test]
    fn fingerprints_tell_requests_apart() {
        let of = |parts: &[&str]| fingerprint(parts.iter().map(|p| p.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }
}

//! Tokens: none opens that was not sealed, and those that were come back as they were.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use lancegate::{
    domain::{Incarnation, Position, Session, TableName, TokenKey},
    wire::page::{self, PageToken},
};
use libfuzzer_sys::fuzz_target;

static TABLE: LazyLock<TableName> = LazyLock::new(|| TableName::parse("t").unwrap());
static OTHER: LazyLock<TableName> = LazyLock::new(|| TableName::parse("u").unwrap());
static KEY: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::of("a primary"));
static STRANGER: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::of("another primary"));

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        // What opens is what somebody sealed: it can be written again as it was.
        if let Ok(position) = KEY.open(&TABLE, text) {
            assert_eq!(KEY.seal(&TABLE, &position), text);
        }
        let _ = KEY.open_session(&TABLE, text);
        let _ = PageToken::decode(text, 7);
        let _ = page::decode_name(text);
    }
    let Some((head, rest)) = data.split_first_chunk::<25>() else {
        return;
    };
    let (incarnation, numbers) = head.split_first_chunk::<16>().unwrap();
    let version = u64::from_le_bytes(*numbers.first_chunk().unwrap());
    let position = Position {
        incarnation: Incarnation::from_bytes(*incarnation),
        version,
    };
    let sealed = KEY.seal(&TABLE, &position);
    assert_eq!(KEY.open(&TABLE, &sealed).unwrap(), position);
    assert!(KEY.open(&OTHER, &sealed).is_err());
    assert!(STRANGER.open(&TABLE, &sealed).is_err());
    // One letter is another one.
    if let Some((&at, rest)) = rest.split_first() {
        let at = usize::from(at) % sealed.len();
        let letter = char::from(b'0' + rest.first().unwrap_or(&0) % 75);
        let mut forged = sealed.clone();
        forged.replace_range(at..=at, &letter.to_string());
        if forged != sealed {
            assert!(KEY.open(&TABLE, &forged).is_err(), "{sealed} and {forged}");
        }
    }
    let ttl = Duration::from_secs(u64::from(numbers[8]));
    let id = uuid::Uuid::from_bytes(*incarnation);
    let session = Session::new(id, position, ttl);
    let text = KEY.seal_session(&TABLE, &session);
    let opened = KEY.open_session(&TABLE, &text).unwrap();
    assert_eq!((opened.id, opened.position), (id, position));
    assert!(KEY.open_session(&OTHER, &text).is_err());
    assert!(KEY.open(&TABLE, &text).is_err());
});


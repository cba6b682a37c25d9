//! The header `grpc-timeout`, as the gRPC protocol over HTTP/2 defines it: one
//! to eight digits and a unit.

use std::time::Duration;

use http::HeaderMap;

use crate::domain::Error;

/// Name of the header, and of the field in errors.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Most digits that the protocol allows.
const MAX_DIGITS: usize = 8;

/// How long the client will wait; `None` if it did not say.
pub(super) fn parse(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    parse_value(value.as_bytes()).map(Some).ok_or_else(|| {
        let shape = "must be 1 to 8 digits and a unit (H, M, S, m, u or n)";
        Error::invalid(GRPC_TIMEOUT, shape)
    })
}

fn parse_value(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let digits_are_fine =
        (1..=MAX_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !digits_are_fine {
        return None;
    }
    // Eight digits of hours are 3.6e11 seconds: nothing below can overflow.
    let number = digits
        .iter()
        .fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7_200)),
            ("99999999H", Duration::from_secs(359_999_996_400)),
            ("3M", Duration::from_secs(180)),
            ("0S", Duration::ZERO),
            ("250m", Duration::from_millis(250)),
            ("00000007u", Duration::from_micros(7)),
            ("1n", Duration::from_nanos(1)),
        ] {
            assert_eq!(parse_value(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "+1S",
            "-1S",
            "1.5S",
            "1 S",
            "123456789S",
            "1SS",
            "S1",
        ] {
            assert_eq!(parse_value(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_value(b"\xff\xff"), None);
    }
}

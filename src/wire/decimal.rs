//! Decimal numbers in plain notation: `-12.50`.

/// Longest text taken: 76 digits, the most that Arrow has, with room for a sign,
/// a point and leading zeros.
const MAX_TEXT: usize = 128;

/// A decimal number as its digits: `-12.50` is negative, `1250`, 2 of them after
/// the point.
pub(super) struct Decimal {
    negative: bool,
    digits: String,
    fraction: usize,
}

/// Reads a number in plain notation: an optional sign, digits, and optionally a
/// point with digits on at least one side of it.
pub(super) fn parse(text: &str) -> Result<Decimal, &'static str> {
    const FAULT: &str = "is not a decimal number in plain notation";
    if text.len() > MAX_TEXT {
        return Err("is longer than 128 characters");
    }
    let (negative, number) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FAULT);
    }
    Ok(Decimal {
        negative,
        digits,
        fraction: fraction.len(),
    })
}

impl Decimal {
    /// The number times ten to the `scale` as the text of an integer, if it is one
    /// of at most `precision` digits.
    pub(super) fn unscaled(&self, precision: u8, scale: i8) -> Result<String, String> {
        let significant = self.digits.trim_start_matches('0');
        if significant.is_empty() {
            return Ok("0".into());
        }
        let shift = i64::from(scale) - self.fraction as i64;
        let mut digits = significant.to_owned();
        if shift >= 0 {
            // At most 127: a scale is an i8.
            digits.extend(std::iter::repeat_n('0', shift as usize));
        } else {
            for _ in shift..0 {
                if digits.pop().is_some_and(|digit| digit != '0') {
                    return Err(format!("has more than {scale} digits after the point"));
                }
            }
        }
        if digits.len() > usize::from(precision) {
            return Err(format!(
                "has more digits than decimal({precision}, {scale})"
            ));
        }
        if self.negative {
            digits.insert(0, '-');
        }
        Ok(digits)
    }
}

/// The text of an integer divided by ten to the `scale`, in plain notation.
pub(super) fn format(unscaled: &str, scale: i8) -> String {
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    if scale <= 0 {
        let zeros = if digits == "0" {
            0
        } else {
            usize::from(scale.unsigned_abs())
        };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    }
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscaled(text: &str, precision: u8, scale: i8) -> Result<String, String> {
        parse(text)?.unscaled(precision, scale)
    }

    #[test]
    fn exact_or_refused() {
        for (text, precision, scale, want) in [
            ("-12.50", 10, 2, "-1250"),
            ("-12.5", 10, 2, "-1250"),
            ("12.500", 4, 2, "1250"),
            ("+0.01", 2, 2, "1"),
            (".5", 2, 1, "5"),
            ("7.", 2, 1, "70"),
            ("-0.000", 1, 0, "0"),
            ("1200", 2, -2, "12"),
            ("00099", 2, 0, "99"),
        ] {
            assert_eq!(
                unscaled(text, precision, scale).as_deref(),
                Ok(want),
                "{text}"
            );
        }
        for (text, precision, scale) in [
            ("12.505", 10, 2),
            ("100", 2, 0),
            ("1201", 9, -2),
            ("0.001", 10, 2),
            ("", 10, 2),
            ("-", 10, 2),
            (".", 10, 2),
            ("1e5", 10, 2),
            ("1,5", 10, 2),
            ("NaN", 10, 2),
            ("--1", 10, 2),
            ("1.2.3", 10, 2),
            ("١", 10, 2),
            (&"1".repeat(129), 10, 2),
        ] {
            assert!(
                unscaled(text, precision, scale).is_err(),
                "{text} was taken"
            );
        }
    }

    #[test]
    fn formats_what_it_reads() {
        for (value, scale, want) in [
            ("-1250", 2, "-12.50"),
            ("5", 2, "0.05"),
            ("-5", 3, "-0.005"),
            ("0", 2, "0.00"),
            ("12", -2, "1200"),
            ("0", -2, "0"),
            ("7", 0, "7"),
        ] {
            assert_eq!(format(value, scale), want);
            assert_eq!(unscaled(want, 38, scale).as_deref(), Ok(value));
        }
    }
}

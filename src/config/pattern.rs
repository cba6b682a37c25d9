//! Names with one `*`, for any text, and who is meant by them.

use std::fmt;

/// A name, or one with a `*` that stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Exactly(String),
    /// What is before the `*` and what is after it.
    Around(String, String),
}

impl Pattern {
    /// Everything.
    pub fn all() -> Self {
        Self::Around(String::new(), String::new())
    }

    /// # Errors
    /// There are several `*`, or there is nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            None if text.is_empty() => Err("is empty".into()),
            None => Ok(Self::Exactly(text.to_owned())),
            Some((_, after)) if after.contains('*') => Err("has more than one *".into()),
            Some((before, after)) => Ok(Self::Around(before.to_owned(), after.to_owned())),
        }
    }

    /// Whether a name is meant. Letters are told apart by their case.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exactly(text) => text == name,
            Self::Around(before, after) => {
                name.len() >= before.len() + after.len()
                    && name.starts_with(before.as_str())
                    && name.ends_with(after.as_str())
            }
        }
    }

    /// Whether it is `*`.
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(text) => f.write_str(text),
            Self::Around(before, after) => write!(f, "{before}*{after}"),
        }
    }
}

/// Whom a binding is about. Names of one kind are never taken for those of another:
/// who may choose the names of tokens does not choose those of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Key(Pattern),
    Jwt(Pattern),
    Certificate(Pattern),
    Role(Pattern),
}

impl Who {
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must begin with key:, jwt:, cert: or role:".to_owned();
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let of: fn(Pattern) -> Self = match kind {
            "key" => Self::Key,
            "jwt" => Self::Jwt,
            "cert" => Self::Certificate,
            "role" => Self::Role,
            _ => return Err(wrong()),
        };
        Pattern::parse(name).map(of)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key:{name}"),
            Self::Jwt(name) => write!(f, "jwt:{name}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stands_for_any_text() {
        for (pattern, fits, does_not) in [
            ("docs", vec!["docs"], vec!["doc", "docs2", "Docs", ""]),
            ("*", vec!["", "a", "docs"], vec![]),
            ("a_*", vec!["a_", "a_b"], vec!["a", "ba_"]),
            ("*_log", vec!["_log", "x_log"], vec!["log", "x_logs"]),
            ("ab*ba", vec!["abba", "abxba"], vec!["aba", "ab", "ba"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for name in fits {
                assert!(parsed.fits(name), "{pattern} {name}");
            }
            for name in does_not {
                assert!(!parsed.fits(name), "{pattern} {name}");
            }
        }
        assert!(Pattern::parse("a*b*").is_err() && Pattern::parse("").is_err());
    }

    #[test]
    fn principals_say_their_kind() {
        for good in ["key:a", "jwt:*@example.org", "cert:CN=a,*", "role:*"] {
            assert_eq!(Who::parse(good).unwrap().to_string(), good);
        }
        for bad in ["a", "name:a", "key:", "KEY:a", ":a", "key:*a*"] {
            assert!(Who::parse(bad).is_err(), "{bad}");
        }
    }
}

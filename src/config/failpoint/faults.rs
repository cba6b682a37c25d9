//! Reads of one connection that fail or take long, because a test wants it.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::domain::{Error, Result};

/// What is wrong with the reads of a connection.
#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    /// How many of a hundred fail.
    percent: u64,
    /// How long each one takes before it begins.
    delay: Duration,
    reads: u64,
}

static FAULTS: LazyLock<Mutex<HashMap<String, Faults>>> = LazyLock::new(|| {
    let written = std::env::var("LANCEGATE_FAULTS").unwrap_or_default();
    Mutex::new(parse(&written))
});

fn faults() -> MutexGuard<'static, HashMap<String, Faults>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `replica-2=fail:20,replica-3=slow:500ms`: the reads of these connections do. The
/// environment variable `LANCEGATE_FAULTS` says the same to a process.
pub fn set_faults(written: &str) {
    faults().extend(parse(written));
}

fn parse(written: &str) -> HashMap<String, Faults> {
    let mut found: HashMap<String, Faults> = HashMap::new();
    for part in written.split(',') {
        let Some((name, how)) = part.trim().split_once('=') else {
            continue;
        };
        let faults = found.entry(name.to_owned()).or_default();
        match how.split_once(':') {
            Some(("fail", percent)) => faults.percent = percent.parse().unwrap_or(0),
            Some(("slow", delay)) => {
                faults.delay = humantime::parse_duration(delay).unwrap_or_default();
            }
            _ => {}
        }
    }
    found
}

/// To be called before each read of a connection.
///
/// # Errors
/// It is one of those that fail: of each hundred the first ones spread evenly.
pub async fn read(connection: &str) -> Result<()> {
    let Some((delay, fails)) = next(connection) else {
        return Ok(());
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match fails {
        true => Err(Error::Unavailable {
            reason: "INJECTED",
            message: "a test wants this read to fail".into(),
            retry_after: Duration::ZERO,
        }),
        false => Ok(()),
    }
}

fn next(connection: &str) -> Option<(Duration, bool)> {
    let mut all = faults();
    let faults = all.get_mut(connection)?;
    let before = faults.reads * faults.percent / 100;
    faults.reads += 1;
    let after = faults.reads * faults.percent / 100;
    Some((faults.delay, after > before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_of_a_hundred_fail() {
        set_faults("faults-a=fail:20,faults-b=slow:20ms,nonsense");
        let mut failed = 0;
        for _ in 0..100 {
            failed += u32::from(read("faults-a").await.is_err());
        }
        assert_eq!(failed, 20);
        let began = tokio::time::Instant::now();
        read("faults-b").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(20));
        read("faults-c").await.unwrap();
        set_faults("faults-a=fail:0");
        read("faults-a").await.unwrap();
    }
}

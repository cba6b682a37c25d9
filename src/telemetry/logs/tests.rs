//! What passes the filter, and that it can be changed.

use super::*;

/// Whether a filter lets an event of that target through at INFO.
fn lets_through(filter: EnvFilter, act: impl FnOnce()) -> bool {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    struct Seen(Arc<AtomicBool>);
    impl<S: tracing::Subscriber> Layer<S> for Seen {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let seen = Arc::new(AtomicBool::new(false));
    let subscriber = Registry::default().with(Seen(Arc::clone(&seen)).with_filter(filter));
    tracing::subscriber::with_default(subscriber, act);
    seen.load(Ordering::Relaxed)
}

macro_rules! at {
    ($filter:expr, $env:expr, $target:literal, $level:ident) => {
        lets_through(filter($env, $filter).unwrap(), || {
            tracing::event!(target: $target, tracing::Level::$level, "x")
        })
    };
}

#[test]
fn our_lines_pass_and_noise_does_not() {
    assert!(at!("info", None, "lancegate::access", INFO));
    assert!(!at!("info", None, "lance::dataset", INFO));
    assert!(!at!("debug", None, "lance_io::scheduler", INFO));
    assert!(!at!("info", None, "datafusion_optimizer", INFO));
    assert!(at!("info", None, "lance::dataset", WARN));
}

#[test]
fn the_scanner_is_muted_unless_it_is_named() {
    for text in ["info", "info,lance=warn", "debug"] {
        assert!(!at!(text, None, "lance::dataset::scanner", WARN), "{text}");
        assert!(at!(text, None, "lance::dataset::scanner", ERROR), "{text}");
    }
    let named = "info,lance::dataset::scanner=warn";
    assert!(at!(named, None, "lance::dataset::scanner", WARN));
}

#[test]
fn a_filter_for_lance_is_not_one_for_us() {
    assert!(at!("info,lance=error", None, "lancegate::access", INFO));
    assert!(!at!("info,lance=error", None, "lance::dataset", WARN));
    assert!(at!("info,lance=debug", None, "lance_core", DEBUG));
    assert!(at!(
        "lancegate=debug,lance=warn",
        None,
        "lancegate::router",
        DEBUG
    ));
    assert!(at!(
        "info,lance::dataset=debug",
        None,
        "lance::dataset",
        DEBUG
    ));
}

#[test]
fn a_filter_changes_while_its_log_goes_on() {
    let (layer, handle) = reload::Layer::new(filter(None, "error").unwrap());
    let change = LogFilter(handle);
    let out = Lines::default();
    let subscriber = Registry::default().with(json_lines(out.clone()).with_filter(layer));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("before");
        change.set("info").unwrap();
        tracing::info!("between");
        assert!(change.set("a=b=c").is_err());
        tracing::info!("still");
        change.set("error").unwrap();
        tracing::info!("after");
    });
    let text = out.text();
    let seen = ["before", "between", "still", "after"].map(|word| text.contains(word));
    // Where the tests themselves run under RUST_LOG that one holds throughout.
    if std::env::var_os(RUST_LOG).is_none() {
        assert_eq!(seen, [false, true, true, false], "{text}");
    }
}

/// What was written, kept.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn rust_log_comes_first() {
    assert!(at!("error", Some("debug"), "lancegate", DEBUG));
    assert!(!at!("debug", Some("error"), "lancegate", WARN));
    assert!(at!("debug", Some(""), "lancegate", DEBUG));
}

#[test]
fn a_bad_filter_says_where_it_came_from() {
    let error = filter(Some("lancegate=loud"), "info")
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("RUST_LOG: 'lancegate=loud'"), "{error}");
    let error = filter(None, "a=b=c").unwrap_err().to_string();
    assert!(error.starts_with("logging.filter: "), "{error}");
}

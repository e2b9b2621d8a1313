//! Log lines on the standard error: text for people, JSON for collectors, never more than a bounded
//! number per second from one place in the code.
//!
//! Refuses to know what is said. Whoever logs sees to it that nothing secret is a field: secrets are
//! `units::Secret`, which prints as redacted.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Format as Lines, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::config::{Format, Log};

const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{level}` is not a log level\nhint: write error, warn, info, debug, trace or off, or by module as in info,penstock::kafka=debug"
    )]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("logs were set up twice in one process")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sets the process's logs up; to be called once, before anything is logged.
pub fn install(log: &Log) -> Result<(), Error> {
    let colour = io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(log, io::stderr, colour)?)?;
    Ok(())
}

/// Whether the text names levels, as [`Log::level`] wants them.
pub fn check_level(level: &str) -> Result<(), Error> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    let refused = |source| Error::Level { level: level.to_owned(), source };
    EnvFilter::builder().parse(level).map_err(refused)
}

fn subscriber<W>(log: &Log, writer: W, colour: bool) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let limit = RateLimit::new(log.lines_per_second_max);
    let layer: Box<dyn Layer<_> + Send + Sync> = match log.format {
        Format::Text => {
            let format = Counted { inner: Lines::default(), limit: limit.clone(), note: text_note };
            let fmt = tracing_subscriber::fmt::layer().with_ansi(colour).event_format(format);
            Box::new(fmt.with_writer(writer).with_filter(limit))
        }
        Format::Json => {
            let inner: Lines<Json> = Lines::default().json().flatten_event(true);
            let format = Counted { inner, limit: limit.clone(), note: json_note };
            let fmt = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(format);
            Box::new(fmt.with_writer(writer).with_filter(limit))
        }
    };
    Ok(Registry::default().with(filter(&log.level)?).with(layer))
}

/// Lets each place in the code write so many lines per second, and counts the rest.
#[derive(Clone)]
struct RateLimit {
    lines_max: u32,
    /// One entry per place, so its size is bounded by the code's.
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
}

struct Place {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl RateLimit {
    fn new(lines_max: u32) -> RateLimit {
        RateLimit { lines_max, places: Arc::default() }
    }

    fn admits(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.places.lock();
        let place = places.entry(place).or_insert(Place { since: now, lines: 0, suppressed: 0 });
        if now.saturating_duration_since(place.since) >= WINDOW {
            place.since = now;
            place.lines = 0;
        }
        let admitted = place.lines < self.lines_max;
        match admitted {
            true => place.lines += 1,
            false => place.suppressed += 1,
        }
        admitted
    }

    /// How many lines of this place were left out since it was asked last.
    fn take_suppressed(&self, place: &Identifier) -> u64 {
        self.places.lock().get_mut(place).map_or(0, |place| std::mem::take(&mut place.suppressed))
    }
}

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata().callsite(), Instant::now())
    }
}

/// Writes lines as `inner` does, and adds to a line how many before it were left out.
struct Counted<F> {
    inner: F,
    limit: RateLimit,
    note: fn(&str, u64) -> String,
}

impl<S, N, F> FormatEvent<S, N> for Counted<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let suppressed = self.limit.take_suppressed(&event.metadata().callsite());
        if suppressed == 0 {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        writer.write_str(&(self.note)(&line, suppressed))
    }
}

fn text_note(line: &str, suppressed: u64) -> String {
    format!("{} suppressed={suppressed}\n", line.trim_end())
}

fn json_note(line: &str, suppressed: u64) -> String {
    let body = line.trim_end();
    format!("{},\"suppressed\":{suppressed}}}\n", body.strip_suffix('}').unwrap_or(body))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(log: &Log, body: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(log, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, body);
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn one_place_cannot_flood_and_the_rest_is_counted() {
        let limit = RateLimit::new(2);
        let place = tracing::subscriber::with_default(Registry::default(), || {
            tracing::info_span!("place").metadata().unwrap().callsite()
        });
        let start = Instant::now();
        let admitted = (0..5).filter(|_| limit.admits(place.clone(), start)).count();
        assert_eq!(admitted, 2);
        assert!(limit.admits(place.clone(), start + WINDOW));
        assert_eq!(limit.take_suppressed(&place), 3);
        assert_eq!(limit.take_suppressed(&place), 0);
        assert_eq!(text_note("a line\n", 3), "a line suppressed=3\n");
        assert_eq!(json_note("{\"a\":1}\n", 3), "{\"a\":1,\"suppressed\":3}\n");
    }

    #[test]
    fn text_and_json_by_level() {
        let say = || {
            for turn in 0..50 {
                tracing::info!(turn, "turned");
            }
            tracing::debug!("not asked for");
            tracing::warn!(password = ?crate::units::Secret::new("hunter2"), "careful");
        };
        let text = written(&Log { lines_per_second_max: 3, ..Log::default() }, say);
        // A slow machine may spread the turns over two windows.
        assert!((4..=7).contains(&text.lines().count()), "{text}");
        assert!(text.contains("turned turn=0") && !text.contains("not asked for"), "{text}");
        assert!(text.contains("<redacted>") && !text.contains("hunter2"), "{text}");

        let log = Log { format: Format::Json, level: "debug".to_owned(), ..Log::default() };
        let json = written(&log, say);
        assert!(json.contains("not asked for"));
        for line in json.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
        }
    }

    #[test]
    fn nonsense_levels_are_refused_with_a_hint() {
        assert!(check_level("info,penstock::kafka=debug").is_ok());
        let error = check_level("penstock=loud").unwrap_err().to_string();
        assert!(error.contains("hint: "), "{error}");
    }
}

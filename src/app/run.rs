//! `penstock run`: checks what can be checked before the first record, then lets the line run.
//!
//! Refuses to start on a table that it could not fill: a start that would fail later fails now, with what
//! to do about it.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::control::{self, Hands, RELOADS_MAX};
use super::progress::Progress;
use super::reload::{Line, Reload, tell_in_force};
use super::{Error, connect, levels, runtime, tables};
use crate::admin::migrate::config::Engine;
use crate::clickhouse::Client;
use crate::config::{Config, Inputs, Loaded, check_sources};
use crate::faults::Faults;
use crate::pipeline::config::Delivery;
use crate::pipeline::{Parts, Pipeline, Register, Snapshot, Summary};
use crate::telemetry::health::{Health, State};
use crate::telemetry::traces::{self, Tracer};
use crate::telemetry::{http, logs};

/// The last spans have so long to reach their receiver.
const TRACES_END_MAX: Duration = Duration::from_secs(2);

/// What the command line adds to the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub stop_at_end: bool,
    /// `None` decides by whether the standard error is a terminal.
    pub progress: Option<bool>,
}

/// Runs until a signal, or to the end of what was published. Gives how it ended.
pub fn run(inputs: &Inputs, loaded: &Loaded, options: Options) -> Result<Summary, Error> {
    let config = &loaded.config;
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    tell_in_force(loaded);
    let health = Health::new(config.telemetry.stalled_after.0);
    let (door, asked) = control::door(config)?.unzip();
    let surface = http::Server::start_with(&config.telemetry.listen, health.clone(), door)
        .map_err(|error| Error::WrongUse(error.into()))?;
    tracing::info!(listen = %surface.addr(), "metrics and health are served");
    let result = runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signals(&shutdown)?;
        let reload = Reload::new(inputs, loaded)?;
        let traces = traces::start(&config.telemetry.traces, &config.kafka.group);
        let (tracer, exporter) = traces.map_err(|error| Error::WrongUse(error.into()))?;
        let summary = match prepare(config, (options, tracer), health.clone(), &shutdown).await? {
            Some((pipeline, line)) => {
                let client = line.client.clone();
                // Beside the line, which may end at any time.
                let (reloads, wanted) = mpsc::channel(RELOADS_MAX);
                let hands = Hands { control: line.control.clone(), client: line.client.clone(), reloads };
                let beside = [
                    tokio::spawn(reload.run(line, wanted)),
                    tokio::spawn(async move {
                        if let Some(asked) = asked {
                            hands.work(asked).await;
                        }
                    }),
                ];
                let summary = ingest((pipeline, client), options, shutdown).await;
                beside.iter().for_each(|task| task.abort());
                summary
            }
            // Asked to end before anything was taken in.
            None => Ok(Summary { drained: true, totals: Snapshot::default() }),
        };
        if let Some(exporter) = exporter {
            exporter.stop(TRACES_END_MAX).await;
        }
        summary
    });
    health.set_state(State::Stopped, "stopped");
    surface.stop();
    result
}

/// Everything that has to be right before the first record; `None` when a signal came first.
async fn prepare(
    config: &Config,
    (options, tracer): (Options, Tracer),
    health: Health,
    shutdown: &CancellationToken,
) -> Result<Option<(Pipeline, Line)>, Error> {
    let tables = tables::load_to_fill(config)?;
    let topics = tables.iter().flat_map(|table| table.topics.iter().map(String::as_str));
    let topics = topics.filter(|topic| !topic.starts_with('^'));
    let faults = check_sources(config, topics);
    if !faults.is_empty() {
        return Err(Error::WrongUse(crate::config::Error { faults }.into()));
    }
    let checked = async {
        let client = connect(config).await?;
        tables::check_live(config, &client, &tables).await?;
        Ok::<_, Error>(client)
    };
    let client = tokio::select! {
        client = checked => client?,
        () = shutdown.cancelled() => return Ok(None),
    };
    let exact = match config.delivery {
        Delivery::AtLeastOnce => None,
        Delivery::ExactlyOnce => Some(levels::exactly_once(config, &client, &tables, &health).await?),
    };
    let prefetch = config.kafka.prefetch.0.saturating_mul(u64::from(config.kafka.consumers));
    let pipeline = Pipeline::new(Parts {
        kafka: config.kafka.clone(),
        batch: config.batch.clone(),
        dead_letter: config.dead_letter.clone(),
        decode: config.decode.clone(),
        audit: config.audit.clone(),
        doubles_allowed: config.delivery == Delivery::AtLeastOnce,
        limits: config.limits.clone(),
        memory_bytes_max: config.memory.budget.0.saturating_sub(prefetch),
        drain_max: config.shutdown.drain.0,
        faults: Faults::new(&config.faults),
        stop_at_end: options.stop_at_end,
        exact,
        tables: tables.clone(),
        client: client.clone(),
        health: health.clone(),
        register: register(config, &client),
        tracer,
    })?;
    let line = Line { control: pipeline.control(), client, health, tables };
    Ok(Some((pipeline, line)))
}

/// Where it stands who was erased.
pub(super) fn register(config: &Config, client: &Client) -> Register {
    Register {
        client: client.clone(),
        table: config.lifecycle.erasures_table.clone(),
        is_replicated: config.migrations.engine == Engine::ReplicatedMergeTree,
        interval: config.lifecycle.erasures_refresh.0,
        grace: config.lifecycle.erasure_grace.0,
    }
}

async fn ingest(
    (pipeline, client): (Pipeline, Client),
    options: Options,
    shutdown: CancellationToken,
) -> Result<Summary, Error> {
    let progress = Progress::start(pipeline.totals(), options.progress);
    let summary = pipeline.run(shutdown).await;
    progress.finish();
    // Watchers of endpoints may be in the middle of a check; the process does not wait for them.
    let _ = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
    Ok(summary?)
}

/// SIGTERM and SIGINT begin an orderly end; the drain deadline bounds it.
pub(super) fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), Error> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(|error| Error::Failed(error.into()))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            shutdown.cancel();
        });
    }
    Ok(())
}

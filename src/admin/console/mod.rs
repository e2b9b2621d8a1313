//! The console: how the whole line is, looked at each second and told to whoever asks or listens.
//!
//! Refuses to change anything, and to hold anything back for a slow listener: whoever is late gets the newest and misses
//! what was between. Each look has a deadline; with nobody listening it looks less often, and keeps its history.
//!
//! | what | where |
//! |---|---|
//! | who is asked, and how | `lines`, `beside`; of `penstock top` `remote` |
//! | what is known | `board` |
//! | what is made of it | `assemble`, `rates`, `problems` (of `kinds`), `verdict`, `timeline` |
//! | its shape | `summary` |

mod assemble;
mod beside;
mod board;
mod config;
mod kinds;
mod lines;
mod problems;
mod rates;
pub mod remote;
pub mod summary;
mod timeline;
mod verdict;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use beside::Sources;
pub use config::Config;
pub use lines::{Lines, source};
pub use summary::Summary;

use beside::Fetched;
use board::{Beside, Board, Said};

/// Between two looks while somebody listens, and while nobody does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// For so long whoever asked once counts as listening.
const LISTENING: Duration = Duration::from_secs(30);
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// An older look is not told when a new one can be had at once.
const FRESH_MAX: Duration = Duration::from_secs(2);

/// The console of one admin process, or of `penstock top`.
pub struct Console {
    said: Said,
    lines: Lines,
    beside: Mutex<Option<Fetched>>,
    /// What was fetched since the last look.
    fetched: Mutex<Option<Beside>>,
    looks: watch::Sender<Arc<Look>>,
    listeners: Arc<Semaphore>,
    asked_at: Mutex<Option<Instant>>,
    wake: Notify,
    ended: CancellationToken,
}

/// What one look came to.
pub struct Look {
    pub summary: Summary,
    /// The same as JSON, once for all who listen.
    pub json: String,
    /// None before the first.
    at: Option<Instant>,
}

/// Somebody who hears of every look from now on.
pub struct Listener {
    looks: watch::Receiver<Arc<Look>>,
    ended: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Console {
    /// Looks at nothing yet. Without sources there is nothing beside the line.
    pub fn new(config: &Config, sources: Option<Sources>) -> Console {
        let said = Said {
            name: config.name.clone(),
            read_only: config.read_only,
            has_key: config.control_key_file.is_some(),
            runbook_url: config.runbook_url.clone(),
            is_configured: !config.lines.is_empty(),
        };
        let empty = Look { summary: Summary::default(), json: "{}".to_owned(), at: None };
        Console {
            said,
            lines: Lines::new(&config.lines),
            beside: Mutex::new(sources.map(Fetched::new)),
            fetched: Mutex::default(),
            looks: watch::Sender::new(Arc::new(empty)),
            listeners: Arc::new(Semaphore::new(usize::try_from(config.streams_max).unwrap_or(usize::MAX))),
            asked_at: Mutex::default(),
            wake: Notify::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Looks again and again, until it is to end; then every listener hears that it is over.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let beside = self.beside.lock().take();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_on() => {}
            () = self.fetch_on(beside) => {}
        }
        self.ended.cancel();
    }

    async fn look_on(&self) {
        let mut board = Board::new(self.said.clone());
        let mut resolved_at = None;
        loop {
            let begun = Instant::now();
            if resolved_at.is_none_or(|at| RESOLVE_EVERY <= begun.saturating_duration_since(at)) {
                resolved_at = Some(begun);
                let (addresses, faults) = self.lines.resolve().await;
                board.resolved(&addresses, faults, Utc::now());
            }
            self.look(&mut board).await;
            tokio::select! {
                () = tokio::time::sleep_until(begun + self.pause()) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Fetches what stands beside the line. It is read from a server, which must not hold the line's figures back.
    async fn fetch_on(&self, beside: Option<Fetched>) {
        let Some(mut beside) = beside else { return std::future::pending().await };
        loop {
            let fetched = beside.look(Instant::now()).await;
            *self.fetched.lock() = Some(fetched);
            tokio::time::sleep(self.pause()).await;
        }
    }

    async fn look(&self, board: &mut Board) {
        let addresses = board.asked(Utc::now());
        let answers = self.lines.ask_all(&addresses).await;
        let now = Utc::now();
        for (address, answer) in answers {
            board.heard(&address, answer, now);
        }
        if let Some(fetched) = self.fetched.lock().take() {
            board.beside(fetched);
        }
        let summary = board.summary(now);
        let json = serde_json::to_string(&summary).unwrap_or_default();
        self.looks.send_replace(Arc::new(Look { summary, json, at: Some(Instant::now()) }));
    }

    fn pause(&self) -> Duration {
        if self.is_listened_to() { LOOK_EVERY } else { IDLE_EVERY }
    }

    fn is_listened_to(&self) -> bool {
        let asked_lately = self.asked_at.lock().is_some_and(|at| at.elapsed() < LISTENING);
        asked_lately || 0 < self.looks.receiver_count()
    }

    /// The newest look; where that is old, the next one, if it comes soon.
    pub async fn newest(&self) -> Arc<Look> {
        *self.asked_at.lock() = Some(Instant::now());
        let mut looks = self.looks.subscribe();
        let newest = Arc::clone(&looks.borrow_and_update());
        if newest.at.is_some_and(|at| at.elapsed() < FRESH_MAX) {
            return newest;
        }
        self.wake.notify_one();
        // What is known is better than nothing.
        let _ = timeout(FRESH_MAX, looks.changed()).await;
        Arc::clone(&looks.borrow())
    }

    /// A place among those who listen, if there is one.
    pub fn listen(&self) -> Option<Listener> {
        let place = Arc::clone(&self.listeners).try_acquire_owned().ok()?;
        let mut looks = self.looks.subscribe();
        looks.mark_changed();
        let is_fresh = looks.borrow().at.is_some_and(|at| at.elapsed() < FRESH_MAX);
        if !is_fresh {
            // An old one would be taken for the present.
            looks.mark_unchanged();
        }
        // From now on it is looked each second, and not after what is left of a longer pause.
        self.wake.notify_one();
        Some(Listener { looks, ended: self.ended.clone(), _place: place })
    }
}

impl Listener {
    /// The next look; none when there will be no more.
    pub async fn next(&mut self) -> Option<Arc<Look>> {
        tokio::select! {
            changed = self.looks.changed() => changed.ok()?,
            () = self.ended.cancelled() => return None,
        }
        let newest = Arc::clone(&self.looks.borrow_and_update());
        Some(newest)
    }
}

#[cfg(test)]
mod tests;

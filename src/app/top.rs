//! `penstock top`: the newest summary of the line, from an admin process or from the line itself.
//!
//! Refuses to print, and to judge by rules of its own: without an admin process the console of one runs here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Error, runtime};
use crate::admin::console::remote::{self, Remote};
use crate::admin::console::{Config, Console, Summary, source};
use crate::units::Secret;

pub use crate::admin::console::{summary, words};

const EVERY: Duration = Duration::from_secs(1);
/// For the first summary with rates, which need two looks.
const FIRST_MAX: Duration = Duration::from_secs(4);

impl From<remote::Error> for Error {
    fn from(error: remote::Error) -> Self {
        match error {
            error @ remote::Error::Unreachable(..) => Error::Unreachable(error.into()),
            error @ (remote::Error::Address(_) | remote::Error::Tls(_) | remote::Error::Token) => {
                Error::WrongUse(error.into())
            }
            remote::Error::Problem(status, text) if status.is_client_error() => {
                Error::WrongUse(anyhow::anyhow!(text))
            }
            error => Error::Failed(error.into()),
        }
    }
}

/// What was told last: a summary, or why there is none.
#[derive(Clone, Default)]
pub struct News {
    pub summary: Option<Arc<Summary>>,
    /// Why nothing newer is known.
    pub fault: Option<String>,
}

/// Something that tells a summary each second.
pub struct Session {
    runtime: Runtime,
    news: watch::Receiver<News>,
    stop: CancellationToken,
}

impl Session {
    /// Asks an admin process, with a token.
    pub fn remote(url: &str, authorities: Option<&Path>, token: Secret) -> Result<Session, Error> {
        let runtime = runtime()?;
        let remote = runtime.block_on(async { Remote::new(url, authorities, token) })?;
        // A wrong address or token is told at once, and not on a screen that stays empty.
        let first = runtime.block_on(remote.ask())?;
        let (tell, news) = watch::channel(News { summary: Some(Arc::new(first)), fault: None });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stopped.cancelled() => break,
                }
                let answer = remote.ask().await;
                tell.send_modify(|news| match answer {
                    Ok(summary) => *news = News { summary: Some(Arc::new(summary)), fault: None },
                    Err(error) => news.fault = Some(error.to_string()),
                });
            }
        });
        Ok(Session { runtime, news, stop })
    }

    /// Asks the processes of the line themselves.
    pub fn lines(urls: &[String]) -> Result<Session, Error> {
        if let Some(wrong) = urls.iter().find(|url| source(url).is_none()) {
            return Err(Error::WrongUse(anyhow::anyhow!(
                "{wrong} is no address of a line\nhint: write http://host:port, where host:port is its telemetry.listen"
            )));
        }
        let runtime = runtime()?;
        let config = Config { lines: urls.to_vec(), ..Config::default() };
        let stop = CancellationToken::new();
        let console = Arc::new(Console::new(&config, None));
        let listener = console.listen();
        let (tell, news) = watch::channel(News::default());
        runtime.spawn(Arc::clone(&console).run(stop.clone()));
        runtime.spawn(async move {
            let Some(mut listener) = listener else { return };
            while let Some(look) = listener.next().await {
                // Nobody is left to be told when the session is dropped.
                let _ = tell.send(News { summary: Some(Arc::new(look.summary.clone())), fault: None });
            }
        });
        Ok(Session { runtime, news, stop })
    }

    /// What was told last.
    pub fn newest(&self) -> News {
        self.news.borrow().clone()
    }

    /// Waits for the next, at most so long. Whether there is one.
    pub fn wait(&mut self, within: Duration) -> bool {
        let changed = self.news.changed();
        // The timer needs the runtime around it when it is made, hence the block.
        self.runtime
            .block_on(async { tokio::time::timeout(within, changed).await.is_ok_and(|one| one.is_ok()) })
    }

    /// The first summary that has rates, or the best that is there in time.
    pub fn first(&mut self) -> Result<Arc<Summary>, Error> {
        let begun = std::time::Instant::now();
        loop {
            let newest = self.newest();
            if let Some(summary) = newest.summary
                && (summary.totals.in_records_per_s.is_some() || FIRST_MAX <= begun.elapsed())
            {
                return Ok(summary);
            }
            if FIRST_MAX * 2 <= begun.elapsed() {
                return Err(Error::Unreachable(anyhow::anyhow!("nothing was told in time")));
            }
            self.wait(EVERY);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

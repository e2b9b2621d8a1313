//! Orders to the line, carried out by those who can: its members, its reload, its client.
//!
//! Refuses to know who may give them: what comes here was authorised and written down by the admin process, and came
//! through the door of `telemetry::control`.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::admin::key;
use crate::clickhouse::Client;
use crate::config::Config;
use crate::pipeline::orders::{Held, Hold};
use crate::pipeline::update::Control;
use crate::telemetry::control::{Act, Asked, Door, Key, Order, PAUSE_MAX_S, Pause, Reply};

/// Reloads that wait; each reads the files anew, so more would be the same.
pub(super) const RELOADS_MAX: usize = 4;

/// Where a reload is asked for, and what came of it is told.
pub(super) type Reloads = mpsc::Sender<oneshot::Sender<Reply>>;

/// Where orders come in; nowhere without a key for them.
pub(super) fn door(config: &Config) -> Result<Option<(Door, mpsc::Receiver<Asked>)>, Error> {
    let Some(path) = &config.telemetry.control.key_file else { return Ok(None) };
    let key = key::Key::read(path, "telemetry.control.key_file", &config.crypt);
    let key = key.map_err(|error| Error::WrongUse(error.into()))?;
    Ok(Some(Door::new(Key::new(key.expose()))))
}

/// Whoever carries them out.
#[derive(Clone)]
pub(super) struct Hands {
    pub control: Control,
    pub client: Client,
    pub reloads: Reloads,
}

impl Hands {
    /// Carries out what comes in, for ever. One that takes long keeps none of the others waiting; they are as many as
    /// the surface has connections.
    pub async fn work(self, mut asked: mpsc::Receiver<Asked>) {
        while let Some(Asked { order, reply }) = asked.recv().await {
            // Of before the line began: whoever asked was told that nothing came of it, and may have asked again.
            if reply.is_closed() {
                continue;
            }
            let hands = self.clone();
            tokio::spawn(async move {
                let said = hands.carry_out(order).await;
                // Whoever asked may have stopped waiting.
                let _ = reply.send(said);
            });
        }
    }

    async fn carry_out(&self, Order { actor, act }: Order) -> Reply {
        match act {
            Act::Pause(pause) => self.pause(pause, actor),
            Act::Resume { topic, id } => {
                match self.control.orders().release(&topic, id.as_deref(), &actor, Instant::now()) {
                    Ok(true) => Reply::done("it is read again"),
                    Ok(false) => Reply::done("it was not paused"),
                    Err(why) => Reply::refused(why.to_string()),
                }
            }
            Act::Flush { topic } => match self.control.orders().close(topic.as_deref()).await {
                Ok(1) => Reply::done("1 batch was closed"),
                Ok(batches) => Reply::done(format!("{batches} batches were closed")),
                Err(why) => Reply::refused(why.to_string()),
            },
            Act::Reload => self.reload().await,
            Act::Probe { endpoint } => match self.client.probe(&endpoint) {
                Some(true) => Reply::done("it is tried now"),
                Some(false) => Reply::refused("its gate is not shut"),
                None => Reply::refused("it is no endpoint of this process"),
            },
        }
    }

    fn pause(&self, pause: Pause, by: String) -> Reply {
        let Pause { id, topic, for_ms, until, reason } = pause;
        let now = Instant::now();
        let ends = now + Duration::from_millis(for_ms).min(Duration::from_secs(PAUSE_MAX_S.into()));
        let hold = Hold { id, by, reason, until, ends };
        match self.control.orders().hold(&topic, hold, now) {
            Ok(Held::New) => Reply::done("it is paused"),
            Ok(Held::Known) => Reply::done("it stays paused"),
            Ok(Held::Over(why)) => Reply { is_over: true, ..Reply::refused(why) },
            Err(why) => Reply::refused(why.to_string()),
        }
    }

    async fn reload(&self) -> Reply {
        let (reply, replied) = oneshot::channel();
        if self.reloads.try_send(reply).is_err() {
            return Reply::refused("reloads are waiting already");
        }
        replied.await.unwrap_or_else(|_| Reply::refused("the process is ending"))
    }
}

//! Backups and restores as the server runs them: started under an id of ours, watched until they end, killed if asked.
//!
//! Refuses to take a lost answer for a failure: what became of the operation is asked by its id.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::error::Error;
use super::{Backups, Progress};
use crate::clickhouse::Once;

/// How often an operation that runs is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for the answer that it was begun.
const START_MAX: Duration = Duration::from_secs(60);
const ERROR_CHARS_MAX: usize = 500;

/// A statement that the server carries out in the background.
pub(super) struct Operation<'a> {
    /// What for, in words: `make x`.
    pub what: String,
    /// Without `SETTINGS id` and `ASYNC`.
    pub sql: String,
    pub id: String,
    /// Further settings of the statement itself.
    pub settings: &'a [String],
}

/// What the server says of one that has ended well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finished {
    pub files: u64,
    pub bytes: u64,
    pub new_bytes: u64,
}

/// How the server says that an operation stands.
struct Standing {
    status: String,
    error: String,
    finished: Finished,
    read_bytes: u64,
}

impl Backups {
    /// Runs it to its end. Cancelled, it is killed and still waited for, so that nothing goes on behind.
    pub(super) async fn operate(&self, operation: Operation<'_>) -> Result<Finished, Error> {
        let Operation { what, sql, id, settings } = operation;
        let id_setting = format!("id = {}", crate::clickhouse::quote_string(&id));
        let settings = settings.iter().cloned().chain([id_setting]).collect::<Vec<_>>().join(", ");
        let sql = format!("{sql} SETTINGS {settings} ASYNC");
        let query_id = format!("penstock-{}", uuid::Uuid::new_v4());
        let once = Once { sql: &sql, params: &[], query_id: &query_id, settings: &[], timeout: START_MAX };
        if let Err(error) = self.desk.client.execute_once(once).await
            && !error.outcome_unknown()
        {
            return Err(refused(&what, &error.to_string()));
        }
        self.watch(&what, &id).await
    }

    async fn watch(&self, what: &str, id: &str) -> Result<Finished, Error> {
        let give_up_at = Instant::now() + self.config.timeout.0;
        let (mut is_killed, mut is_late) = (false, false);
        loop {
            let Some(standing) = self.standing(id).await? else { return Err(Error::Lost(what.to_owned())) };
            match standing.status.as_str() {
                "CREATING_BACKUP" | "RESTORING" => {}
                _ if is_late => return Err(Error::Late(what.to_owned())),
                // It may have ended before it was killed; whoever cancelled wants none of it.
                _ if is_killed => return Err(Error::Cancelled(what.to_owned())),
                "BACKUP_CREATED" | "RESTORED" => return Ok(standing.finished),
                _ => return Err(refused(what, &standing.error)),
            }
            let done = standing.finished.new_bytes.max(standing.read_bytes);
            let bytes = standing.finished.bytes;
            (self.observer)(&Progress { what: what.to_owned(), bytes, done });
            is_late = is_late || Instant::now() >= give_up_at;
            if (is_late || self.stop.is_cancelled()) && !is_killed {
                let kill = "KILL QUERY WHERE query_id IN (SELECT query_id FROM system.backups WHERE id = {id:String}) ASYNC";
                self.desk.client.execute_idempotent(kill, &[("id", json!(id))]).await?;
                is_killed = true;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn standing(&self, id: &str) -> Result<Option<Standing>, Error> {
        let sql = "SELECT toString(status), error, num_files, total_size, uncompressed_size, bytes_read FROM system.backups \
                   WHERE id = {id:String} ORDER BY start_time DESC LIMIT 1";
        let row = self.desk.rows(sql, &[("id", json!(id))]).await?.into_iter().next();
        Ok(row.map(|row| Standing {
            status: row.text(0),
            error: row.text(1),
            finished: Finished { files: row.number(2), bytes: row.number(3), new_bytes: row.number(4) },
            read_bytes: row.number(5),
        }))
    }
}

/// The server's words without the trace of its stack.
fn refused(what: &str, error: &str) -> Error {
    let words = error.split(", Stack trace").next().unwrap_or_default();
    let message = words.split("\nhint: ").next().unwrap_or_default().chars().take(ERROR_CHARS_MAX).collect();
    let hint = match error {
        text if text.contains("backups.allowed_path") || text.contains("is not allowed for backups") => {
            "allow the folder by backups.allowed_path in the server's configuration"
        }
        text if text.contains("allowed_disk") => {
            "allow the disk by backups.allowed_disk in the server's configuration"
        }
        text if text.contains("ACCESS_DENIED") => "grant it to clickhouse.user",
        text if text.contains("MEMORY_LIMIT_EXCEEDED") => {
            "give the user more memory, or back up fewer tables at a time"
        }
        text if text.contains("No such file") || text.contains("BACKUP_ENTRY_NOT_FOUND") => {
            "the backup or its base is damaged; `penstock backup verify` tells"
        }
        _ => "system.backups of the server has more",
    };
    Error::Server { what: what.to_owned(), message, hint }
}

//! One insert of `exactly_once`: under the range's own token, within its lease, looked for before it is repeated.
//!
//! Refuses to repeat blindly where the table can be looked into: an attempt whose outcome is not known is followed
//! by a look, so that neither a forgotten token brings rows twice nor one that was kept without its rows loses
//! them. Where only the token tells, it is repeated under that.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use super::flush::{Exact, Flushed, Flusher, Job, PlannedRange, Source, Target};
use crate::clickhouse::{self, BEGIN_MAX, Class, Insert, Place};
use crate::delivery::plan::Lease;
use crate::delivery::token;
use crate::faults::Point;
use crate::telemetry::metrics::METRICS;

/// Goes at putting back lost rows within one flush; each may lose its rows again to a killed server.
const REPAIRS_MAX: u32 = 8;

/// The server compares whole seconds.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// One range on its way.
struct Sending<'a> {
    job: &'a Job,
    target: &'a Target,
    planned: &'a PlannedRange,
    exact: &'a Exact,
    lease: Lease,
    rows: Range<usize>,
}

/// How many of a range's rows are in the table.
enum Found {
    All,
    Some(Vec<i64>),
}

impl Flusher {
    /// Inserts the rows of a planned range.
    pub(super) async fn insert_planned(
        &self,
        job: &mut Job,
        target: &Target,
        (planned, exact): (&PlannedRange, &Exact),
        rows: Range<usize>,
    ) -> Flushed {
        let Some(lease) = job.lease else {
            return Flushed::Parked { reason: "the range is not committed yet".to_owned() };
        };
        let in_doubt = job.doubt.is_some();
        let place = job.sources.first().and_then(|source| target.place(&source.source));
        let sending = Sending { job, target, planned, exact, lease, rows };
        let sent = self.send(&sending, place.as_ref(), in_doubt).await;
        if let Some(source) = sending.job.sources.first() {
            let (range, rows, error) = (planned.range, sending.rows.len(), sent.as_ref().err());
            tracing::debug!(source = %source.source, %range, rows, in_doubt, error = ?error.map(ToString::to_string), "planned range sent");
        }
        let Err(error) = sent else { return Flushed::Written };
        if error.is_doubtful() {
            let begins_until = Instant::now() + BEGIN_MAX + CLOCK_STEP;
            job.doubt = Some(begins_until.min(lease.until + CLOCK_STEP));
        }
        // After a look nothing else of the range can come; otherwise what was sent may still be running.
        let lands_until = match exact.loses_rows && place.is_some() {
            true => None,
            false => job.doubt.map(|until| until + exact.insert_max),
        };
        refusal(error, lands_until)
    }

    async fn send(
        &self,
        sending: &Sending<'_>,
        place: Option<&Place>,
        in_doubt: bool,
    ) -> Result<(), clickhouse::Error> {
        let is_stale = sending.is_stale(self.faults.unix_ms());
        let table = || sending.target.table.clone();
        let Some(place) = place else {
            return match is_stale {
                true => Err(clickhouse::Error::TokenForgotten { table: table() }),
                false => self.insert_whole(sending, true).await,
            };
        };
        if !in_doubt && !is_stale {
            return self.insert_whole(sending, false).await;
        }
        if sending.exact.loses_rows {
            // Nothing that was sent before can begin any more, since the lane has waited for that.
            if self.client.is_running(&sending.query_id_prefix()).await? {
                return Err(clickhouse::Error::StillRunning { table: table() });
            }
            return self.fill(sending, place, is_stale).await;
        }
        match self.look(sending, place).await? {
            Found::All => Ok(()),
            Found::Some(_) if is_stale => self.fill(sending, place, true).await,
            Found::Some(_) => self.insert_whole(sending, false).await,
        }
    }

    /// Inserts all of the range's rows under its own token.
    async fn insert_whole(&self, sending: &Sending<'_>, repeat: bool) -> Result<(), clickhouse::Error> {
        let insert = Insert { repeat_doubtful: repeat, ..sending.insert(0) };
        self.insert_rows(insert, (sending.job, sending.target), sending.rows.clone()).await.map(|_| ())
    }

    /// Inserts what is not in the table until nothing is missing. The range's own token may have been kept
    /// without its rows, or be forgotten, so each go but the first has one of its own.
    async fn fill(
        &self,
        sending: &Sending<'_>,
        place: &Place,
        is_stale: bool,
    ) -> Result<(), clickhouse::Error> {
        for repair in 0..REPAIRS_MAX {
            let Found::Some(present) = self.look(sending, place).await? else { return Ok(()) };
            if present.is_empty() && repair == 0 && !is_stale {
                self.insert_whole(sending, false).await?;
                continue;
            }
            let batch = sending.missing(&present).await?;
            let (table, rows) = (&sending.target.table, batch.num_rows());
            tracing::warn!(%table, range = %sending.planned.range, rows, "rows that are not there are put back");
            METRICS.repaired_rows.with_label_values(&[table]).inc_by(rows as u64);
            let batch = batch.into();
            let trace = sending.job.trace.clone();
            let insert = Insert { batch, trace, repeat_doubtful: false, ..sending.insert(repair + 1) };
            self.insert(&insert, (sending.job, sending.target)).await?;
        }
        match self.look(sending, place).await? {
            Found::All => Ok(()),
            Found::Some(_) => Err(clickhouse::Error::RowsMissing { table: sending.target.table.clone() }),
        }
    }

    /// Counts the range's rows in the table; lists them only if some are missing.
    async fn look(&self, sending: &Sending<'_>, place: &Place) -> Result<Found, clickhouse::Error> {
        let expected = sending.rows.len() as u64;
        let range = sending.planned.range;
        let present = self.client.present(place, range.first.0, range.next.0).await?;
        tracing::debug!(table = %sending.target.table, %range, expected, ?present, "rows counted");
        self.faults.point(Point::ReadbackDone);
        METRICS.read_backs.with_label_values(&[&sending.target.table]).inc();
        if present.distinct < present.rows {
            tracing::error!(
                table = %sending.target.table, %range, rows = present.rows, distinct = present.distinct,
                "rows of one offset are there more than once"
            );
        }
        // Rows of somebody who was erased meanwhile may stand in for rows that are missing, so these are listed.
        let somebody_is_erased = !self.erased.borrow().is_empty();
        if expected <= present.distinct && !somebody_is_erased {
            return Ok(Found::All);
        }
        if present.distinct == 0 && expected > 0 {
            return Ok(Found::Some(Vec::new()));
        }
        let offsets = self.client.offsets(place, range.first.0, range.next.0).await?;
        let is_whole = !sending.rows.clone().any(|row| sending.is_missing(row, &offsets));
        Ok(if is_whole { Found::All } else { Found::Some(offsets) })
    }
}

impl Sending<'_> {
    /// Whether the range was first committed so long ago that the server may have forgotten its token.
    fn is_stale(&self, now_ms: i64) -> bool {
        let age = u64::try_from(now_ms.saturating_sub(self.lease.since_ms)).unwrap_or(0);
        self.exact.token_life.is_some_and(|life| life <= Duration::from_millis(age))
    }

    fn token(&self, repair: u32) -> String {
        let names = (self.exact.group.as_str(), self.exact.name.as_str());
        let token = |source: &Source| {
            token::planned(names, self.planned.lineage, &source.source, self.planned.range, repair)
        };
        self.job.sources.first().map_or_else(String::new, token)
    }

    /// Begins the query id of every attempt of the range, whoever makes it.
    fn query_id_prefix(&self) -> String {
        format!("penstock-{}", self.token(0))
    }

    /// All of an insert of the range but its rows.
    fn insert(&self, repair: u32) -> Insert {
        Insert {
            database: self.target.database.clone(),
            table: self.target.table.clone(),
            query_id_prefix: Some(self.query_id_prefix()),
            token: self.token(repair),
            begin_before: Some(self.lease.until.into()),
            give_up_at: Some(self.lease.until.into()),
            quorum: self.exact.quorum,
            ..Insert::default()
        }
    }

    fn is_missing(&self, row: usize, present: &[i64]) -> bool {
        self.job.offset_of(row).is_none_or(|offset| present.binary_search(&offset.0).is_err())
    }

    /// The rows whose offsets are not among those present, which rise.
    async fn missing(&self, present: &[i64]) -> Result<RecordBatch, clickhouse::Error> {
        let mask: BooleanArray = self.rows.clone().map(|row| Some(self.is_missing(row, present))).collect();
        let batch = self.job.payload.batch().await?.slice(self.rows.start, self.rows.len());
        filter_record_batch(&batch, &mask)
            .map_err(|error| clickhouse::Error::Encode(clickhouse::native::Error::from(error)))
    }
}

/// What a failed insert means: a refusal counts only if nothing of the range can have landed.
fn refusal(error: clickhouse::Error, doubt: Option<Instant>) -> Flushed {
    let reason = error.to_string();
    if error.class() != Class::Data {
        return Flushed::Parked { reason };
    }
    if error.is_from_a_view() {
        // The rows are in the table already; other pieces would bring them again.
        return Flushed::Parked {
            reason: format!("a view of the table refuses rows that are in the table: {reason}"),
        };
    }
    if doubt.is_some_and(|until| Instant::now() < until) {
        return Flushed::Parked {
            reason: format!("refused for its data while an earlier attempt may still land: {reason}"),
        };
    }
    Flushed::Refused(Arc::new(error))
}

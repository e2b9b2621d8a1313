//! One insert of `exactly_once`: under the range's own token, within its lease, looked for before it is repeated.
//!
//! Refuses to change what is inserted: a range's rows go under the range's token, whoever sends them. Where the
//! server may have kept a token without its rows, the rows are counted after every doubtful attempt, and those
//! that are missing are put back.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use super::flush::{Exact, Flushed, Flusher, Job, PlannedRange, Target};
use crate::clickhouse::{self, Class, Insert, Place};
use crate::delivery::plan::Lease;
use crate::delivery::token;
use crate::faults::Point;
use crate::telemetry::metrics::METRICS;

/// Goes at putting back lost rows within one flush; each may lose its rows again to a killed server.
const REPAIRS_MAX: u32 = 8;

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
        match sent {
            Ok(()) => {
                job.doubt = None;
                Flushed::Written
            }
            Err(error) => {
                // Whatever went wrong after it was begun may have left some of the rows, or a token without them.
                if !error.surely_not_executed() && error.class() != Class::Data && !error.deadline_passed() {
                    // What was sent may land until the lease is over, and then run its time.
                    job.doubt = Some(lease.until + exact.insert_max);
                }
                refusal(error, job.doubt)
            }
        }
    }

    async fn send(
        &self,
        sending: &Sending<'_>,
        place: Option<&Place>,
        in_doubt: bool,
    ) -> Result<(), clickhouse::Error> {
        let is_stale = sending.is_stale(self.faults.unix_ms());
        let Some(place) = place else {
            if is_stale {
                return Err(clickhouse::Error::TokenForgotten { table: sending.target.table.clone() });
            }
            return self.insert_whole(sending).await.map(|_| ());
        };
        if is_stale {
            // The token proves nothing any more, and only what is not there may be sent.
            return self.repair(sending, place).await;
        }
        let loses_rows = sending.exact.loses_rows;
        if in_doubt
            && loses_rows
            && let Found::All = self.look(sending, place).await?
        {
            return Ok(());
        }
        let attempts = self.insert_whole(sending).await?;
        if loses_rows && (in_doubt || 1 < attempts) {
            return self.repair(sending, place).await;
        }
        Ok(())
    }

    /// Inserts all of the range's rows; gives the number of attempts.
    async fn insert_whole(&self, sending: &Sending<'_>) -> Result<u32, clickhouse::Error> {
        let batch = sending.job.sealed.batch.slice(sending.rows.start, sending.rows.len());
        Ok(self.insert(&sending.insert(batch, 0), sending.target).await?.attempts)
    }

    /// Puts back what an acknowledged insert did not leave in the table.
    async fn repair(&self, sending: &Sending<'_>, place: &Place) -> Result<(), clickhouse::Error> {
        for repair in 1..=REPAIRS_MAX {
            let Found::Some(present) = self.look(sending, place).await? else { return Ok(()) };
            let batch = sending.missing(&present)?;
            tracing::warn!(
                table = %sending.target.table, range = %sending.planned.range, rows = batch.num_rows(),
                "the server kept the token of a batch without its rows; they are put back"
            );
            METRICS.repaired_rows.with_label_values(&[&sending.target.table]).inc_by(batch.num_rows() as u64);
            self.insert(&sending.insert(batch, repair), sending.target).await?;
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
        if expected <= present.distinct {
            return Ok(Found::All);
        }
        if present.distinct == 0 {
            return Ok(Found::Some(Vec::new()));
        }
        Ok(Found::Some(self.client.offsets(place, range.first.0, range.next.0).await?))
    }
}

impl Sending<'_> {
    /// Whether the range was first committed so long ago that the server may have forgotten its token.
    fn is_stale(&self, now_ms: i64) -> bool {
        let age = u64::try_from(now_ms.saturating_sub(self.lease.since_ms)).unwrap_or(0);
        self.exact.token_life.is_some_and(|life| life <= Duration::from_millis(age))
    }

    fn insert(&self, batch: RecordBatch, repair: u32) -> Insert {
        let source = self.job.sources.first();
        let token = source.map_or_else(String::new, |source| {
            let names = (self.exact.group.as_str(), self.exact.name.as_str());
            token::planned(names, self.planned.lineage, &source.source, self.planned.range, repair)
        });
        Insert {
            database: self.target.database.clone(),
            table: self.target.table.clone(),
            batch,
            query_id_prefix: Some(format!("penstock-{token}")),
            token,
            deadline_unix_s: Some(self.lease.deadline_unix_s),
            give_up_at: Some(self.lease.until.into()),
            quorum: self.exact.quorum,
            ..Insert::default()
        }
    }

    /// The rows whose offsets are not among those present, which rise.
    fn missing(&self, present: &[i64]) -> Result<RecordBatch, clickhouse::Error> {
        let is_missing = |row: usize| {
            self.job.offset_of(row).is_none_or(|offset| present.binary_search(&offset.0).is_err())
        };
        let mask: BooleanArray = self.rows.clone().map(|row| Some(is_missing(row))).collect();
        let batch = self.job.sealed.batch.slice(self.rows.start, self.rows.len());
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

//! `penstock audit-rows`: its arguments, and its figures as a table.
//!
//! Refuses to find anything out itself: `app::audit` does.

use chrono::{DateTime, Utc};
use clap::Args;

use super::work::Call;
use super::{Exit, Failure};
use crate::app;
use crate::audit::Report;
use crate::audit::ledger::Counts;
use crate::units::Span;

const EXAMPLES: &str = "\
Examples:
  penstock audit-rows
  penstock audit-rows --table clicks --since 24h
  penstock audit-rows --topic clicks --partition 3 --from-offset 1000000 --to-offset 2000000 --deep
  penstock audit-rows --since 2026-03-14T00:00:00Z --until 2026-03-15T00:00:00Z --output json

Every offset below the group's own is read again from Kafka and decoded, and is exactly one of: a row, left out by rule
(tombstone), a dead letter, no record (compacted, transaction marker, aborted), or deleted by retention. The rows are
then looked for in ClickHouse by the columns from $partition and $offset (and $topic, with several topics). Nothing is
changed, and the group is not joined.

Exit codes: 0 complete, 2 a column is missing, 3 rows are missing or surplus, 4 a server could not be reached.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditRowsArgs {
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only this partition of it
    #[arg(long, value_name = "N", requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// From this offset on; from 0 without it
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub from_offset: Option<i64>,
    /// Up to this offset, itself left out; up to the group's committed one without it
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// From the first record of this time on: how long ago (24h), or as in 2026-03-14T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub since: Option<When>,
    /// Up to the first record of this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub until: Option<When>,
    /// Compare the offsets themselves, also where counts and sums agree
    #[arg(long)]
    pub deep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Ago(Span),
    At(DateTime<Utc>),
}

impl When {
    fn parse(text: &str) -> Result<When, String> {
        if let Ok(span) = text.parse() {
            return Ok(When::Ago(span));
        }
        DateTime::parse_from_rfc3339(text)
            .map(|time| When::At(time.to_utc()))
            .map_err(|_| "write how long ago, such as 24h, or a time such as 2026-03-14T09:00:00Z".to_owned())
    }

    fn unix_ms(self, now: DateTime<Utc>) -> i64 {
        match self {
            When::Ago(span) => {
                now.timestamp_millis().saturating_sub(i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX))
            }
            When::At(time) => time.timestamp_millis(),
        }
    }
}

impl Call<'_> {
    pub fn audit_rows(mut self, args: &AuditRowsArgs) -> Result<Exit, Failure> {
        let now = Utc::now();
        let options = app::audit::Options {
            tables: args.table.clone(),
            topic: args.topic.clone(),
            partition: args.partition,
            from_offset: args.from_offset,
            to_offset: args.to_offset,
            since_ms: args.since.map(|when| when.unix_ms(now)),
            until_ms: args.until.map(|when| when.unix_ms(now)),
            deep: args.deep,
        };
        let report = app::audit::audit(&self.loaded.config, &options)?;
        let value = serde_json::to_value(&report).map_err(std::io::Error::other)?;
        self.tell(&text(&report), &value)?;
        Ok(if report.complete { Exit::Done } else { Exit::Differences })
    }
}

const TITLES: [&str; 12] = [
    "topic",
    "partition",
    "hour",
    "records",
    "expected",
    "found",
    "filtered",
    "dead letters",
    "absent",
    "deleted",
    "missing",
    "surplus",
];

fn text(report: &Report) -> String {
    let mut lines = vec![TITLES.map(str::to_owned)];
    lines.extend(report.rows.iter().map(|row| {
        let hour = row.hour.clone().unwrap_or_else(|| "unknown".to_owned());
        line(row.topic.clone(), row.partition.to_string(), hour, &row.counts)
    }));
    lines.push(line("total".to_owned(), String::new(), String::new(), &report.total));
    let mut widths = [0; TITLES.len()];
    for line in &lines {
        widths.iter_mut().zip(line).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 2 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    report.findings.iter().for_each(|finding| text.push_str(&format!("{}\n", finding.sentence)));
    if 0 < report.findings_left_out {
        text.push_str(&format!("and {} more stretches that are not named\n", report.findings_left_out));
    }
    for (count, what) in [
        (
            report.total.rows_of_old,
            "rows are of records that today's table file rejects, or that were compacted away",
        ),
        (report.total.letters_unproven, "rejected records have no dead letter any more"),
    ] {
        if 0 < count {
            text.push_str(&format!("note: {count} {what}\n"));
        }
    }
    report.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    text + &report.verdict() + "\n"
}

fn line(topic: String, partition: String, hour: String, counts: &Counts) -> [String; 12] {
    let figures = [
        counts.records,
        counts.rows_expected,
        counts.rows_found,
        counts.filtered,
        counts.dead_lettered,
        counts.absent,
        counts.deleted,
        counts.missing_rows + counts.missing_letters,
        counts.surplus_rows,
    ];
    let [a, b, c, d, e, f, g, h, i] = figures.map(|figure| figure.to_string());
    [topic, partition, hour, a, b, c, d, e, f, g, h, i]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spans_or_moments() {
        let now = DateTime::from_timestamp_millis(10_000_000).unwrap();
        assert_eq!(When::parse("2h").unwrap().unix_ms(now), 10_000_000 - 7_200_000);
        assert_eq!(When::parse("1970-01-01T01:00:00+01:00").unwrap().unix_ms(now), 0);
        assert!(When::parse("yesterday").is_err());
    }

    #[test]
    fn the_columns_stand_below_each_other() {
        let mut report = Report::new(true);
        report.total =
            Counts { records: 12, rows_expected: 12, rows_found: 11, missing_rows: 1, ..Counts::default() };
        report.notes.push("so".to_owned());
        let text = text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("found").map(|at| at + 5), lines[1].find("11").map(|at| at + 2));
        assert_eq!(lines[2..], ["note: so", "not complete: 1 rows are missing"]);
    }
}

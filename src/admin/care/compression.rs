//! What each column of a table takes, and which codec would take less.
//!
//! Refuses to advise what was not measured, and a change that is hardly worth it: a rewrite has its price.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::recompress::set_codec;
use super::sample::{Measured, Sample};
use super::sizes::ratio;
use super::{Care, Error, parts};
use crate::admin::command::Permission;
use crate::admin::desk::{Row, TableName};
use crate::schema::Type;
use crate::schema::codec::Codec;

/// Codecs of any column.
const GENERAL: [&str; 4] = ["LZ4", "ZSTD(1)", "ZSTD(3)", "ZSTD(6)"];
/// Codecs of whole numbers, times and the like, cheaper ones first.
const OF_NUMBERS: [&str; 5] =
    ["Delta, LZ4", "T64, LZ4", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)"];
const OF_FLOATS: [&str; 2] = ["Gorilla, ZSTD(1)", "FPC, ZSTD(1)"];
/// A codec this much larger than the smallest is as good, if it stands before it; in hundredths.
const AS_GOOD_PERCENT: u64 = 2;

/// What is looked at, and how much of it.
#[derive(Clone, Debug)]
pub struct Survey {
    pub database: Option<String>,
    pub table: String,
    /// All without any.
    pub columns: Vec<String>,
    /// Tried beside those that suit the column's type.
    pub codecs: Vec<Codec>,
    /// Of each column; 0 measures nothing.
    pub sample_rows: u64,
    /// Of each column, before compression.
    pub sample_bytes: u64,
    /// What a codec must save of the column to be advised, in hundredths.
    pub gain_percent_min: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "CompressionReport")]
pub struct Report {
    pub table: TableName,
    pub rows: u64,
    /// Of parts in the compact format, which keep all columns in one file: these are told by no column.
    pub compact_bytes: u64,
    pub columns: Vec<ColumnReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ColumnReport {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
    /// As the table has it; empty stands for the server's default.
    pub codec: String,
    /// Of all active parts.
    pub compressed_bytes: u64,
    pub uncompressed_bytes: u64,
    pub ratio: f64,
    /// What the sample took with each codec, the table's own first.
    pub measured: Vec<Measured>,
    pub advice: Option<Advice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Advice {
    pub codec: String,
    /// Of the sample, in hundredths.
    pub saves_percent: u64,
    /// Of the column, if all of it is like the sample.
    pub saves_bytes: u64,
    /// Holds for new parts; old ones follow when they are merged or written again.
    pub sql: String,
}

impl Care {
    /// Reads what columns take, and measures candidates in a scratch table that is gone afterwards.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn compression(&self, survey: &Survey) -> Result<Report, Error> {
        let table = self.desk.table(survey.database.as_deref(), &survey.table);
        let rows = parts::sum(&parts::partitions(&self.desk, &table).await?, None).rows;
        let columns = self.columns(&table, &survey.columns).await?;
        let sql = "SELECT sumIf(data_compressed_bytes, part_type = 'Compact'), sum(data_uncompressed_bytes) \
                   FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}";
        let whole = self.desk.row(sql, &table.params()).await?;
        let (compact_bytes, row_bytes) = (whole.number(0), whole.number(1) / rows.max(1));
        let mut report = Report { table: table.clone(), rows, compact_bytes, columns };
        if rows == 0 || survey.sample_rows == 0 {
            return Ok(report);
        }
        let details = json!({ "columns": survey.columns, "sample_rows": survey.sample_rows });
        let measure = async {
            for column in &mut report.columns {
                let candidates = candidates(&column.data_type, &survey.codecs);
                let of = Sample { table: &table, column, rows, row_bytes, survey, candidates: &candidates };
                let measured = self.measure(&of).await?;
                column.advice = advise(&table, column, &measured, survey.gain_percent_min);
                column.measured = measured;
            }
            Ok::<(), Error>(())
        };
        self.desk
            .audited("table.compression", Permission::TableCare, (&table, details), Box::pin(measure))
            .await?;
        Ok(report)
    }

    async fn columns(&self, table: &TableName, only: &[String]) -> Result<Vec<ColumnReport>, Error> {
        let sql = "SELECT name, type, compression_codec, data_compressed_bytes, data_uncompressed_bytes \
                   FROM system.columns WHERE database = {database:String} AND table = {table:String} \
                   AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY data_compressed_bytes DESC, position";
        let one = |row: &Row| ColumnReport {
            name: row.text(0),
            data_type: row.text(1),
            codec: row.text(2),
            compressed_bytes: row.number(3),
            uncompressed_bytes: row.number(4),
            ratio: ratio(row.number(4), row.number(3)),
            measured: Vec::new(),
            advice: None,
        };
        let all: Vec<ColumnReport> = self.desk.rows(sql, &table.params()).await?.iter().map(one).collect();
        if let Some(column) = only.iter().find(|name| all.iter().all(|one| one.name != **name)) {
            return Err(Error::NoColumn { table: table.clone(), column: column.clone() });
        }
        Ok(all.into_iter().filter(|one| only.is_empty() || only.contains(&one.name)).collect())
    }
}

/// What is tried for a type, cheaper codecs first.
fn candidates(data_type: &str, more: &[Codec]) -> Vec<String> {
    let ty = data_type.parse::<Type>().ok();
    let bare = match &ty {
        // Its dictionary and its keys are two streams of another kind.
        Some(Type::LowCardinality(_)) | None => None,
        Some(ty) => Some(ty.bare()),
    };
    let special: &[&str] = match bare {
        Some(Type::Int(int)) if int.bits <= 64 => &OF_NUMBERS,
        Some(Type::Decimal { precision, .. }) if *precision <= 18 => &OF_NUMBERS,
        Some(
            Type::Date
            | Type::Date32
            | Type::DateTime { .. }
            | Type::DateTime64 { .. }
            | Type::Enum8(_)
            | Type::Enum16(_)
            | Type::Ipv4,
        ) => &OF_NUMBERS,
        Some(Type::Float32 | Type::Float64) => &OF_FLOATS,
        _ => &[],
    };
    let (first, rest) = GENERAL.split_at(1);
    let known = first.iter().chain(special).chain(rest).map(|text| (*text).to_owned());
    let mut all: Vec<String> = known.collect();
    for codec in more.iter().map(ToString::to_string) {
        if !all.contains(&codec) {
            all.push(codec);
        }
    }
    all
}

/// The first codec that is about as good as the best, if it saves enough.
fn advise(table: &TableName, column: &ColumnReport, measured: &[Measured], gain_min: u64) -> Option<Advice> {
    let (own, others) = measured.split_first()?;
    let best = others.iter().map(|one| one.bytes).min()?;
    let as_good = best.saturating_add(best / 100 * AS_GOOD_PERCENT);
    let chosen = others.iter().find(|one| one.bytes <= as_good)?;
    let saved = own.bytes.checked_sub(chosen.bytes).filter(|saved| *saved > 0)?;
    let share = |of: u64| u64::try_from(u128::from(of) * u128::from(saved) / u128::from(own.bytes)).ok();
    let saves_percent = share(100)?;
    if saves_percent < gain_min {
        return None;
    }
    let codec = chosen.codec.clone();
    let sql = set_codec(table, &column.name, &codec);
    Some(Advice { codec, saves_percent, saves_bytes: share(column.compressed_bytes)?, sql })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_suit_the_type() {
        for (ty, part) in [
            ("UInt64", "T64, ZSTD(1)"),
            ("Nullable(DateTime64(3))", "DoubleDelta, ZSTD(1)"),
            ("Float64", "Gorilla, ZSTD(1)"),
            ("Decimal(18, 2)", "Delta, LZ4"),
        ] {
            assert!(candidates(ty, &[]).iter().any(|codec| codec == part), "{ty}");
        }
        for ty in
            ["String", "LowCardinality(String)", "Int128", "AggregateFunction(sum, Int8)", "Array(UInt8)"]
        {
            assert_eq!(candidates(ty, &[]), GENERAL, "{ty}");
        }
        let more = ["ZSTD(9)".parse().unwrap(), "LZ4".parse().unwrap()];
        assert_eq!(candidates("String", &more).len(), GENERAL.len() + 1);
    }

    #[test]
    fn advice_is_the_cheapest_of_the_good_and_must_be_worth_it() {
        let table = TableName { database: "d".to_owned(), name: "t".to_owned() };
        let column = ColumnReport {
            name: "c`".to_owned(),
            data_type: "UInt64".to_owned(),
            codec: String::new(),
            compressed_bytes: 1_000_000,
            uncompressed_bytes: 0,
            ratio: 0.0,
            measured: Vec::new(),
            advice: None,
        };
        let measured = |bytes: [u64; 4]| -> Vec<Measured> {
            let names = ["", "LZ4", "ZSTD(1)", "ZSTD(3)"];
            names
                .iter()
                .zip(bytes)
                .map(|(name, bytes)| Measured { codec: (*name).to_owned(), bytes })
                .collect()
        };
        let advice = advise(&table, &column, &measured([1000, 900, 505, 500]), 10).unwrap();
        assert_eq!(
            (advice.codec.as_str(), advice.saves_percent, advice.saves_bytes),
            ("ZSTD(1)", 49, 495_000)
        );
        assert_eq!(advice.sql, r"ALTER TABLE `d`.`t` MODIFY COLUMN `c\`` CODEC(ZSTD(1))");
        assert_eq!(advise(&table, &column, &measured([1000, 1000, 950, 945]), 10), None);
        assert_eq!(advise(&table, &column, &measured([400, 900, 505, 500]), 0), None);
        assert_eq!(advise(&table, &column, &measured([0, 0, 0, 0]), 0), None);
    }
}

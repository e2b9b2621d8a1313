//! What a table has for stretches of offsets, asked by the columns that hold where each row came from.
//!
//! Refuses to judge the answer. Names are quoted and values are typed parameters (invariant I11); an answer has one
//! line for each chunk or stretch, and a list of offsets is asked for one chunk at a time, so that it stays small.

use serde_json::{Value, json};

use super::Error;
use super::offsets::Sums;
use crate::clickhouse::{Client, quote_identifier};
use crate::record::{Offset, OffsetRange, TopicPartition};
use crate::schema::model::{Meta, Source};
use crate::schema::{Table, Type};

/// Where a table keeps topic, partition and offset; names are quoted.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub table: String,
    from: String,
    topic: Option<String>,
    partition: String,
    offset: String,
}

/// The rows of one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    pub rows: u64,
    /// Sum of the offsets modulo 2^64, and of their squares.
    pub sum: u64,
    pub squares: u64,
    /// Distinct offsets, if they were asked for.
    pub distinct: u64,
}

impl Lookup {
    /// Finds the columns. `several_topics`: rows of more than one topic lie in the table.
    pub fn new(table: &Table, several_topics: bool) -> Result<Lookup, Error> {
        let column = |meta: Meta, fits: fn(&Type) -> bool| {
            let has = |c: &&crate::schema::Column| c.source == Source::Meta(meta) && fits(c.ty.bare());
            table.columns.iter().find(has).map(|column| quote_identifier(&column.name))
        };
        let missing = |source: &'static str, ty: &'static str, why: &'static str| Error::MissingColumn {
            table: table.name.clone(),
            source_name: source,
            ty,
            why,
        };
        let is_int = |ty: &Type| matches!(ty, Type::Int(_));
        let is_text = |ty: &Type| matches!(ty, Type::String);
        let partition = column(Meta::Partition, is_int).ok_or_else(|| missing("$partition", "Int32", ""))?;
        let offset = column(Meta::Offset, is_int).ok_or_else(|| missing("$offset", "Int64", ""))?;
        let topic = column(Meta::Topic, is_text);
        if several_topics && topic.is_none() {
            return Err(missing(
                "$topic",
                "LowCardinality(String)",
                ", since rows of several topics lie in it",
            ));
        }
        let database = table.database.iter().map(|name| format!("{}.", quote_identifier(name)));
        let from = database.collect::<String>() + &quote_identifier(&table.name);
        Ok(Lookup { table: table.name.clone(), from, topic, partition, offset })
    }

    /// The same columns of another table.
    pub fn at(self, database: &str, table: &str) -> Lookup {
        let from = format!("{}.{}", quote_identifier(database), quote_identifier(table));
        Lookup { table: table.to_owned(), from, ..self }
    }

    /// Whether the row lies in stretch `number`, in terms of parameters that are appended.
    fn within(
        &self,
        number: usize,
        (source, range): (&TopicPartition, OffsetRange),
        params: &mut Vec<(String, Value)>,
    ) -> String {
        let (partition, offset) = (&self.partition, &self.offset);
        params.push((format!("p{number}"), json!(source.partition.0)));
        params.push((format!("a{number}"), json!(range.first.0)));
        params.push((format!("b{number}"), json!(range.next.0)));
        let mut condition = format!(
            "{partition} = {{p{number}:Int32}} AND {offset} >= {{a{number}:Int64}} AND {offset} < {{b{number}:Int64}}"
        );
        if let Some(topic) = &self.topic {
            params.push((format!("t{number}"), json!(*source.topic)));
            condition.push_str(&format!(" AND {topic} = {{t{number}:String}}"));
        }
        condition
    }

    /// The sums of each chunk of `chunk` offsets of the range that has rows, by the chunk's number.
    pub async fn chunks(
        &self,
        client: &Client,
        (source, range): (&TopicPartition, OffsetRange),
        chunk: i64,
    ) -> Result<Vec<(i64, Sums)>, Error> {
        let mut params = vec![("chunk".to_owned(), json!(chunk))];
        let condition = self.within(0, (source, range), &mut params);
        let sql = format!(
            "SELECT n, count(), uniqExact(x), sum(x), sum(x * x), sum(x * x * x) FROM (\
             SELECT intDiv(toInt64({offset}) - {{a0:Int64}}, {{chunk:Int64}}) AS n, \
             toUInt64(toInt64({offset}) - {{a0:Int64}} - n * {{chunk:Int64}}) AS x FROM {from} WHERE {condition}\
             ) GROUP BY n ORDER BY n",
            offset = self.offset,
            from = self.from,
        );
        let lines = self.ask(client, &sql, &params).await?;
        lines
            .iter()
            .map(|line| {
                let [number, rows, distinct, sum, squares, cubes] = fields(line)?;
                let number = i64::try_from(number).map_err(|_| Error::Answer(line.clone()))?;
                Ok((number, Sums { rows, distinct, sum, squares, cubes }))
            })
            .collect()
    }

    /// The offsets of the range that have rows, in order, with their numbers of rows.
    pub async fn offsets(
        &self,
        client: &Client,
        (source, range): (&TopicPartition, OffsetRange),
    ) -> Result<Vec<(Offset, u64)>, Error> {
        let mut params = Vec::new();
        let condition = self.within(0, (source, range), &mut params);
        let sql = format!(
            "SELECT toInt64({offset}) AS o, count() FROM {from} WHERE {condition} GROUP BY o ORDER BY o",
            offset = self.offset,
            from = self.from,
        );
        let lines = self.ask(client, &sql, &params).await?;
        lines
            .iter()
            .map(|line| {
                let [offset, rows] = fields(line)?;
                let offset = i64::try_from(offset).map_err(|_| Error::Answer(line.clone()))?;
                Ok((Offset(offset), rows))
            })
            .collect()
    }

    /// The rows of each of these stretches, which do not overlap, in one pass over the table. `exact` counts
    /// distinct offsets too, which costs the server memory in proportion to them.
    pub async fn measure(
        &self,
        client: &Client,
        stretches: &[(&TopicPartition, OffsetRange)],
        exact: bool,
    ) -> Result<Vec<Measure>, Error> {
        let (mut params, mut branches, mut conditions) = (Vec::new(), String::new(), Vec::new());
        for (number, (source, range)) in stretches.iter().enumerate() {
            let condition = self.within(number, (source, *range), &mut params);
            branches.push_str(&format!("{condition}, {number}, "));
            conditions.push(format!("({condition})"));
        }
        let distinct = if exact { "uniqExact(x)" } else { "0" };
        let sql = format!(
            "SELECT n, count(), sum(x), sum(x * x), {distinct} FROM (\
             SELECT multiIf({branches}{last}) AS n, toUInt64({offset}) AS x FROM {from} WHERE {conditions}\
             ) GROUP BY n",
            last = stretches.len(),
            offset = self.offset,
            from = self.from,
            conditions = conditions.join(" OR "),
        );
        let mut all = vec![Measure::default(); stretches.len()];
        for line in self.ask(client, &sql, &params).await? {
            let [number, rows, sum, squares, distinct] = fields(&line)?;
            let one = usize::try_from(number).ok().and_then(|number| all.get_mut(number));
            *one.ok_or_else(|| Error::Answer(line.clone()))? = Measure { rows, sum, squares, distinct };
        }
        Ok(all)
    }

    async fn ask(
        &self,
        client: &Client,
        sql: &str,
        params: &[(String, Value)],
    ) -> Result<Vec<String>, Error> {
        let params: Vec<(&str, Value)> =
            params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let answer = client.query_raw(sql, &params, "TabSeparated").await?;
        let text = String::from_utf8_lossy(&answer);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// A line of whole numbers.
fn fields<const N: usize>(line: &str) -> Result<[u64; N], Error> {
    let numbers: Option<Vec<u64>> = line.split('\t').map(|field| field.parse().ok()).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| Error::Answer(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::parse_table;

    fn table(columns: &str) -> Table {
        let text =
            format!("table: t\ntopics: [a]\norder_by: []\ncolumns:\n- {{name: n, type: UInt8}}\n{columns}");
        parse_table(&text, std::path::Path::new("t.yaml")).unwrap()
    }

    #[test]
    fn the_column_that_is_missing_is_named() {
        let partition = "- {name: p, type: Int32, from: $partition}\n";
        let offset = "- {name: o, type: UInt64, from: $offset}\n";
        let topic = "- {name: t, type: LowCardinality(String), from: $topic}\n";
        let both = format!("{partition}{offset}");
        let cases = [
            (partition.to_owned(), false, Some("$offset")),
            (offset.to_owned(), false, Some("$partition")),
            (both.clone(), false, None),
            (both.clone(), true, Some("$topic")),
            (format!("{both}{topic}"), true, None),
        ];
        for (columns, several, missing) in cases {
            let found = Lookup::new(&table(&columns), several);
            match missing {
                None => assert!(found.is_ok(), "{columns}"),
                Some(name) => {
                    let text = found.unwrap_err().to_string();
                    assert!(text.contains(name) && text.contains("\nhint: "), "{text}");
                }
            }
        }
    }

    #[test]
    fn lines_that_are_no_numbers_are_refused() {
        assert_eq!(fields::<2>("1\t18446744073709551615").unwrap(), [1, u64::MAX]);
        for line in ["", "1", "1\t2\t3", "1\tx", "-1\t2"] {
            assert!(fields::<2>(line).is_err(), "{line}");
        }
    }
}

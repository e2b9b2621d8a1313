//! What `exactly_once` is worth for each table: found out before the first record, told, and refused where it is
//! less than the configuration demands.
//!
//! Refuses to change a table. The rules are `clickhouse::level`'s.

use std::sync::Arc;

use crate::clickhouse::Quorum;
use crate::config::Config;
use crate::pipeline::config::Delivery;
use crate::pipeline::{Exact, ExactlyOnce, PlaceColumns};
use crate::schema::Table;
use crate::schema::model::{Meta, Source};

/// How the tables are filled, if that is to be exactly once.
pub fn exactly_once(config: &Config, tables: &[Arc<Table>]) -> Option<ExactlyOnce> {
    if config.delivery != Delivery::ExactlyOnce {
        return None;
    }
    let exact = |table: &Arc<Table>| {
        let database = table.database.as_ref().unwrap_or(&config.clickhouse.database);
        let exact = Exact {
            group: config.kafka.group.clone(),
            name: format!("{database}.{}", table.name),
            quorum: if config.exactly_once.quorum { Quorum::Auto } else { Quorum::Off },
            columns: place_columns(table),
            loses_rows: true,
            insert_max: config.clickhouse.insert_timeout.0,
        };
        (table.name.clone(), exact)
    };
    Some(ExactlyOnce { lease: config.exactly_once.lease.0, tables: tables.iter().map(exact).collect() })
}

/// The columns by which a row can be traced to its record, if the table has all that it takes.
fn place_columns(table: &Table) -> Option<PlaceColumns> {
    let named = |meta: Meta| {
        let found = table.columns.iter().find(|column| column.source == Source::Meta(meta));
        found.map(|column| column.name.clone())
    };
    let is_one_topic = matches!(table.topics.as_slice(), [topic] if !topic.starts_with('^'));
    let topic = named(Meta::Topic);
    if topic.is_none() && !is_one_topic {
        return None;
    }
    Some(PlaceColumns { topic, partition: named(Meta::Partition)?, offset: named(Meta::Offset)? })
}

//! Where a table's rows go, put together from the table file, the configuration and what is known of the table.
//!
//! Refuses to ask any server: what `exactly_once` needs to know of a table was found out before.

use std::sync::Arc;

use super::Error;
use super::flush::Target;
use super::pressure::Valve;
use super::start::Parts;
use crate::batch::PartitionBy;
use crate::delivery::ledger::checksum;
use crate::kafka;
use crate::schema::{Table, ddl};

/// Where a table's rows go, and how.
pub fn target(parts: &Parts, table: &Table, valve: &Arc<Valve>) -> Result<Arc<Target>, Error> {
    let exact = match &parts.exact {
        None => None,
        Some(exact) => {
            let missing = || Error::NotExact { table: table.name.clone() };
            Some(exact.tables.get(&table.name).cloned().ok_or_else(missing)?)
        }
    };
    Ok(Arc::new(Target {
        database: table.database.clone(),
        table: table.name.clone(),
        fingerprint: fingerprint(table, &parts.kafka),
        exact,
        valve: Arc::clone(valve),
        partition_by: table.partition_by.as_deref().and_then(PartitionBy::parse),
        partition_keys_max: usize::from(parts.batch.partition_keys_max),
    }))
}

/// Tells plans apart that were made by other table files or from other records.
pub fn fingerprint(table: &Table, kafka: &kafka::Config) -> u32 {
    let mut text = format!(
        "{}
{:?}
{:?}",
        ddl::create_table(table, false),
        table.topics,
        kafka.isolation
    );
    // What hides values makes other rows of the same records.
    let hidden = table.columns.iter().filter_map(|column| Some((&column.name, column.protect.as_ref()?)));
    for (name, protect) in hidden {
        text.push_str(&format!("\n{name} {protect:?}"));
    }
    checksum(&text)
}

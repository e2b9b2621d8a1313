//! Lifecycle: rows go, move, shrink or become fewer with age, as the table files say, unless a legal hold says no.
//!
//! Refuses surprises. What is applied is a plan that somebody has seen, by its hash; TTL changes are metadata only and
//! rewrite nothing; partitions whose rows are all over are dropped, not rewritten; what is held stays.
//!
//! | what | where |
//! |---|---|
//! | the rules themselves, and their TTL | `schema::lifecycle` |
//! | the live TTL, and the statements that bring it to the rules | `live` |
//! | what each rule touches now | `ages` |
//! | plan, status, drift | `plan` |
//! | apply, expire | `apply` |
//! | parts that are there under a new TTL | `materialize` |
//! | legal holds | `holds`, `hold` |
//! | one at a time | `lock` |

mod ages;
mod apply;
mod config;
mod error;
mod hold;
mod holds;
mod live;
mod lock;
mod materialize;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, TableName};
use crate::schema::Table;
use crate::schema::lifecycle::{Lifecycle, Rule};

pub use apply::{Dropped, Expire, Outcome, Outcomes};
pub use config::Config;
pub use error::Error;
pub use hold::{HoldRequest, Put, ReleaseRequest, Released, moment};
pub use holds::{Held, Hold, Holds};
pub use materialize::{Materializations, Materialize, Materialized};
pub use plan::{Drift, Drifted, Over, PartitionPlan, Plan, RulePlan, TablePlan};

/// Plans and carries out the rules of table files on one server.
#[derive(Clone)]
pub struct Lifecycles {
    desk: Desk,
    config: Config,
    tables: Vec<Arc<Table>>,
    timeout: Duration,
}

/// A table with rules.
struct Governed<'a> {
    name: TableName,
    table: &'a Table,
    rules: &'a Lifecycle,
}

impl Lifecycles {
    /// # Errors
    /// A rule that undercuts the floor of the configuration.
    pub fn new(desk: Desk, config: &Config, tables: Vec<Arc<Table>>) -> Result<Lifecycles, Error> {
        for table in &tables {
            let rules = table.lifecycle.iter().flat_map(|lifecycle| &lifecycle.rules);
            let undercuts = |rule: &&Rule| rule.action.destroys() && rule.after < config.min_retention;
            if let Some(rule) = rules.into_iter().find(undercuts) {
                let (table, rule, floor) = (table.name.clone(), rule.to_string(), config.min_retention);
                return Err(Error::Floor { table, rule, floor });
            }
        }
        let timeout = config.timeout.0;
        Ok(Lifecycles { desk, config: config.clone(), tables, timeout })
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn name(&self, table: &Table) -> TableName {
        self.desk.table(table.database.as_deref(), &table.name)
    }

    /// The tables with rules: all, or those named, each of which must have some.
    fn governed(&self, names: &[String]) -> Result<Vec<Governed<'_>>, Error> {
        let mut all = Vec::new();
        for table in self.tables.iter().filter(|table| names.is_empty() || names.contains(&table.name)) {
            match &table.lifecycle {
                Some(rules) => all.push(Governed { name: self.name(table), table, rules }),
                None if names.is_empty() => {}
                None => return Err(Error::NoRules(table.name.clone())),
            }
        }
        match names.iter().find(|name| all.iter().all(|one| one.table.name != **name)) {
            Some(missing) => Err(Error::NoTableFile(missing.clone())),
            None => Ok(all),
        }
    }
}

//! What would be done now: TTLs to be set, partitions to be dropped, and what each rule touches.
//!
//! Refuses to change anything. The hash of a plan is made of what `apply` would do, not of counts that move with every
//! row, so it stays the same until there is something else to do.

use schemars::JsonSchema;
use serde::Serialize;

use super::ages::{self, Ages};
use super::holds::Hold;
use super::live::{self, Live};
use super::{Error, Governed, Lifecycles};
use crate::admin::desk::TableName;
use crate::admin::migrate::script;
use crate::schema::lifecycle::{Action, Method, Rule};

/// Characters of a plan's name.
const HASH_CHARS: usize = 16;

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "LifecyclePlan")]
pub struct Plan {
    pub hash: String,
    pub tables: Vec<TablePlan>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TablePlan {
    pub table: TableName,
    pub exists: bool,
    /// Under which the table has the TTL of its rules; metadata only.
    pub statements: Vec<String>,
    pub rules: Vec<RulePlan>,
    /// Partitions whose rows are all over: dropped, oldest first.
    pub drops: Vec<PartitionPlan>,
    /// Partitions of which some rows are over, or all but by a key that is not made of the time.
    pub rest: Vec<PartitionPlan>,
    /// Partitions with rows that are over and held.
    pub kept: Vec<PartitionPlan>,
    pub holds: Vec<Hold>,
}

/// What a rule touches now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RulePlan {
    pub rule: String,
    /// How it is carried out: `drop_partition`, `ttl`, both, or `nothing` because of a hold.
    pub by: &'static str,
    /// Partitions of which all rows, or some, are past the age.
    pub partitions_whole: u64,
    pub partitions_in_part: u64,
    pub rows: u64,
    /// In proportion to the rows.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PartitionPlan {
    pub partition_id: String,
    pub partition: String,
    pub rows: u64,
    pub bytes: u64,
    /// Rows that are over.
    pub rows_over: u64,
}

/// How the TTLs of tables differ from their rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LifecycleDrift")]
pub struct Drift {
    pub tables: Vec<Drifted>,
}

/// One table, with the statements under which it has the TTL of its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Drifted {
    pub table: TableName,
    pub exists: bool,
    pub statements: Vec<String>,
}

/// What of a table is past the age at which it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// Not held.
    pub rows: u64,
    pub bytes: u64,
    /// Of these the bytes of partitions that are over as a whole.
    pub droppable_bytes: u64,
    /// Those that stay, since they are held.
    pub held_bytes: u64,
}

impl TablePlan {
    pub fn over(&self) -> Over {
        let bytes = |all: &[PartitionPlan]| -> u64 {
            all.iter().map(|one| share(one.bytes, one.rows_over, one.rows)).sum()
        };
        let rows = |all: &[PartitionPlan]| -> u64 { all.iter().map(|one| one.rows_over).sum() };
        let droppable_bytes = bytes(&self.drops);
        Over {
            rows: rows(&self.drops) + rows(&self.rest),
            bytes: droppable_bytes + bytes(&self.rest),
            droppable_bytes,
            held_bytes: bytes(&self.kept),
        }
    }
}

impl Plan {
    /// What of it is about TTLs.
    pub fn drift(&self) -> Drift {
        let one = |one: &TablePlan| Drifted {
            table: one.table.clone(),
            exists: one.exists,
            statements: one.statements.clone(),
        };
        Drift { tables: self.tables.iter().map(one).collect() }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|one| one.statements.is_empty() && one.drops.is_empty())
    }

    /// Whether any table's TTL is not that of its rules, or a table is missing.
    pub fn differs(&self) -> bool {
        self.tables.iter().any(|one| !one.exists || !one.statements.is_empty())
    }
}

impl Lifecycles {
    /// What would be done to these tables, or all with rules. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn plan(&self, tables: &[String]) -> Result<Plan, Error> {
        let (now_s, holds) = (self.desk.now().await?, self.holds().await?);
        let mut all = Vec::new();
        for one in self.governed(tables)? {
            let mut on_it = holds.clone();
            on_it.retain(|hold| hold.is_on(&one.name));
            all.push(self.plan_one(&one, on_it, now_s).await?);
        }
        Ok(Plan { hash: hash(&all), tables: all })
    }

    async fn plan_one(&self, one: &Governed<'_>, holds: Vec<Hold>, now_s: u64) -> Result<TablePlan, Error> {
        let empty = TablePlan {
            table: one.name.clone(),
            exists: false,
            statements: Vec::new(),
            rules: Vec::new(),
            drops: Vec::new(),
            rest: Vec::new(),
            kept: Vec::new(),
            holds,
        };
        let Some(live) = live::read(&self.desk, &one.name).await? else { return Ok(empty) };
        let statements = live::statements(&self.desk, one, &live, !empty.holds.is_empty()).await?;
        let ages = ages::read(&self.desk, one, now_s).await?;
        let rules = rules(one, &ages, &empty.holds);
        let plan = TablePlan { exists: true, statements, rules, ..empty };
        Ok(split(one, &live, &ages, plan))
    }
}

fn rules(one: &Governed<'_>, ages: &[Ages], holds: &[Hold]) -> Vec<RulePlan> {
    let is_whole = holds.iter().any(|hold| hold.partitions.is_empty());
    let rule = |(index, rule): (usize, &Rule)| {
        let by = match &rule.action {
            Action::Delete if is_whole => "nothing",
            Action::Delete if holds.is_empty() && one.rules.method == Method::Ttl => "drop_partition, ttl",
            Action::Delete => "drop_partition",
            action if action.destroys() && !holds.is_empty() => "nothing",
            _ => "ttl",
        };
        let mut plan = RulePlan {
            rule: rule.to_string(),
            by,
            partitions_whole: 0,
            partitions_in_part: 0,
            rows: 0,
            bytes: 0,
        };
        for ages in ages {
            let past = ages.past.get(index).copied().unwrap_or_default();
            plan.partitions_whole += u64::from(past > 0 && past == ages.rows);
            plan.partitions_in_part += u64::from(past > 0 && past < ages.rows);
            plan.rows += past;
            plan.bytes += share(ages.bytes, past, ages.rows);
        }
        plan
    };
    one.rules.rules.iter().enumerate().map(rule).collect()
}

fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(product).unwrap_or(bytes)
}

/// Sorts the partitions by what becomes of their rows that are over.
fn split(one: &Governed<'_>, live: &Live, ages: &[Ages], mut plan: TablePlan) -> TablePlan {
    let is_delete = |rule: &Rule| rule.action == Action::Delete;
    let Some(delete) = one.rules.rules.iter().position(is_delete) else { return plan };
    // A row that arrives late in a partition by time is over as well; in one by another key it may not be.
    let by_time = ages::names(&live.partition_key, &one.rules.time_column);
    for ages in ages {
        let rows_over = ages.past.get(delete).copied().unwrap_or_default();
        if rows_over == 0 {
            continue;
        }
        let partition = PartitionPlan {
            partition_id: ages.id.clone(),
            partition: ages.partition.clone(),
            rows: ages.rows,
            bytes: ages.bytes,
            rows_over,
        };
        if plan.holds.iter().any(|hold| hold.covers(&ages.id)) {
            plan.kept.push(partition);
        } else if by_time && rows_over == ages.rows {
            plan.drops.push(partition);
        } else {
            plan.rest.push(partition);
        }
    }
    plan
}

fn hash(tables: &[TablePlan]) -> String {
    let mut text = String::new();
    for one in tables {
        text += &format!("{}\n", one.table);
        one.statements.iter().for_each(|sql| text += &format!("  {sql}\n"));
        one.drops.iter().for_each(|drop| text += &format!("  drop {}\n", drop.partition_id));
    }
    script::sha256(&text).chars().take(HASH_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::holds::tests::hold;
    use super::*;
    use std::path::Path;

    fn planned(partition_key: &str, holds: Vec<Hold>) -> TablePlan {
        let text = "table: t\ndatabase: d\ntopics: [t]\norder_by: [time]\ncolumns: [{name: time, type: DateTime}, {name: e, type: String}]\n\
                    lifecycle: {time_column: time, delete_after: 90d, clear: {e: 30d}}\n";
        let table =
            crate::schema::parse_table(text, Path::new("t.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let name = TableName { database: "d".to_owned(), name: "t".to_owned() };
        let one = Governed { name: name.clone(), table: &table, rules: table.lifecycle.as_ref().unwrap() };
        let ages = |id: &str, over, cleared| Ages {
            id: id.to_owned(),
            partition: id.to_owned(),
            rows: 10,
            bytes: 1000,
            past: vec![over, cleared],
        };
        let ages = [ages("1", 10, 10), ages("2", 10, 10), ages("3", 4, 10), ages("4", 0, 5), ages("5", 0, 0)];
        let live = Live { partition_key: partition_key.to_owned(), ..Live::default() };
        let rules = rules(&one, &ages, &holds);
        let (statements, nothing) = (vec!["ALTER".to_owned()], Vec::new);
        let (drops, rest, kept) = (nothing(), nothing(), nothing());
        split(
            &one,
            &live,
            &ages,
            TablePlan { table: name, exists: true, statements, rules, drops, rest, kept, holds },
        )
    }

    fn ids(all: &[PartitionPlan]) -> String {
        all.iter().map(|one| one.partition_id.as_str()).collect()
    }

    #[test]
    fn partitions_are_dropped_only_if_all_of_it_is_over_by_time_and_nothing_holds_them() {
        let free = planned("toYYYYMM(time)", Vec::new());
        assert_eq!(
            (ids(&free.drops).as_str(), ids(&free.rest).as_str(), ids(&free.kept).as_str()),
            ("12", "3", "")
        );
        assert_eq!(free.rest[0].rows_over, 4);
        let delete = &free.rules[0];
        assert_eq!(
            (delete.partitions_whole, delete.partitions_in_part, delete.rows, delete.bytes),
            (2, 1, 24, 2400)
        );
        assert_eq!((free.rules[1].rows, free.rules[1].by), (35, "ttl"));
        for key in ["cityHash64(e) % 8", "", "toYYYYMM(times)"] {
            let other = planned(key, Vec::new());
            assert_eq!((ids(&other.drops).as_str(), ids(&other.rest).as_str()), ("", "123"), "{key}");
        }
        let held = planned("toYYYYMM(time)", vec![hold(&["2"])]);
        assert_eq!((ids(&held.drops).as_str(), ids(&held.kept).as_str()), ("1", "2"));
        let over =
            |rows, bytes, droppable_bytes, held_bytes| Over { rows, bytes, droppable_bytes, held_bytes };
        assert_eq!((free.over(), held.over()), (over(24, 2400, 2000, 0), over(14, 1400, 1000, 1000)));
        let by = |plan: &TablePlan| plan.rules.iter().map(|rule| rule.by).collect::<Vec<_>>();
        assert_eq!(
            (by(&free), by(&held)),
            (vec!["drop_partition, ttl", "ttl"], vec!["drop_partition", "nothing"])
        );
        let whole = planned("toYYYYMM(time)", vec![hold(&[])]);
        assert_eq!(by(&whole), ["nothing", "nothing"]);
        assert_eq!(
            (ids(&whole.drops).as_str(), ids(&whole.rest).as_str(), ids(&whole.kept).as_str()),
            ("", "", "123")
        );
    }

    #[test]
    fn the_hash_names_what_would_be_done_and_not_how_much_there_is() {
        let one = planned("toYYYYMM(time)", Vec::new());
        let mut more = one.clone();
        more.drops[0].rows += 1;
        more.rest[0].rows_over += 1;
        let mine = hash(std::slice::from_ref(&one));
        assert_eq!(mine, hash(std::slice::from_ref(&more)));
        more.drops.pop();
        assert_ne!(mine, hash(&[more]));
        let mut other = one;
        other.statements.clear();
        assert_ne!(mine, hash(&[other]));
        assert_eq!(mine.len(), HASH_CHARS);
    }
}

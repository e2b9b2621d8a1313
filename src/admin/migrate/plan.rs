//! What is to be run: which statements of which files on which hosts, in order, and under which name (hash).
//!
//! Refuses to run anything. The same folder, journal and hosts give the same plan, and so the same hash.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::error::Error;
use super::files::{Folder, Key, Kind, Migration, Version};
use super::journal::{Direction, Outcome, Record};
use super::pragma::{Danger, Target};
use super::script::{self, Script, Statement};
use super::state::{Standing, State, Trace};
use super::values::{Filled, Values};

/// What plans are made from.
pub struct Scope<'a> {
    pub folder: &'a Folder,
    pub state: &'a State,
    /// Names of the hosts; the first keeps the journal.
    pub hosts: &'a [String],
    /// Where statements are run that do not say it.
    pub target: Target,
}

/// One statement, and where it is still to be run.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub migration: &'a Migration,
    pub direction: Direction,
    /// Counted from 1.
    pub number: u32,
    pub statement: &'a Statement,
    pub filled: Filled,
    pub hosts: Vec<String>,
    /// Verify of this statement.
    pub verify: Option<&'a str>,
    pub dangers: BTreeSet<Danger>,
}

impl<'a> Step<'a> {
    pub fn script(&self) -> &'a Script {
        self.migration.script(self.direction)
    }

    /// The file that the statement stands in.
    pub fn file(&self) -> String {
        match self.direction {
            Direction::Up => self.migration.file.clone(),
            Direction::Down => self.migration.file.replace(".sql", ".down.sql"),
        }
    }
}

impl<'a> Scope<'a> {
    /// Where a statement of the migration is run.
    pub fn hosts_of(&self, key: &Key, statement: &Statement) -> Vec<String> {
        let target = statement.pragmas.target.unwrap_or(self.target);
        // With ON CLUSTER the server itself carries it everywhere.
        match target == Target::One || statement.reading.cluster.is_some() {
            true => self.one_of(key).into_iter().collect(),
            false => self.hosts.to_vec(),
        }
    }

    /// The host for what is run on one: that on which the migration was begun, whichever is named first now, so that it
    /// is not run on a second one.
    fn one_of(&self, key: &Key) -> Option<String> {
        let rank = |(host, trace): (&str, &Trace)| {
            let tried = trace.up.values().chain(trace.down.values());
            // Where most statements of the file are run, those of one host alone are among them.
            let most = tried.map(|record| (record.statements, Reverse(record.seq))).max()?;
            let is_at_hand = self.hosts.iter().any(|one| one == host);
            (is_at_hand || trace.standing() == Standing::Applied).then(|| (most, host.to_owned()))
        };
        let begun = self.state.hosts(key).filter_map(rank).max().map(|(_, host)| host);
        begun.or_else(|| self.hosts.first().cloned())
    }

    /// How many statements of the script are run on the host.
    fn statements_on(&self, key: &Key, script: &Script, host: &str) -> u32 {
        let here = |statement: &&Statement| self.hosts_of(key, statement).iter().any(|one| one == host);
        u32::try_from(script.statements.iter().filter(here).count()).unwrap_or(u32::MAX)
    }

    /// The baseline that holds: the one that was tried, or in an empty journal the newest.
    pub fn baseline(&self) -> Option<&'a Migration> {
        let mut all = self.folder.migrations.iter().filter(|one| one.key.kind == Kind::Baseline).rev();
        match self.state.keys().next() {
            None => all.next(),
            // One that a crash left without an effect is still the beginning.
            Some(_) => all.find(|one| self.state.keys().any(|key| *key == one.key)),
        }
    }

    /// A row for the statement with this number on one host, before anybody has done anything with it.
    pub fn record(
        &self,
        migration: &Migration,
        direction: Direction,
        (number, statement): (u32, &Statement),
        host: &str,
    ) -> Record {
        let script = migration.script(direction);
        Record {
            seq: 0,
            key: migration.key.clone(),
            name: migration.name.clone(),
            file: migration.file.clone(),
            direction,
            statement: number,
            statements: self.statements_on(&migration.key, script, host),
            host: host.to_owned(),
            outcome: Outcome::Sent,
            query_id: String::new(),
            started: String::new(),
            finished: String::new(),
            error: String::new(),
            statement_sha256: statement.sha256.clone(),
            file_sha256: script.sha256.clone(),
            actor: String::new(),
            replaces: 0,
            note: String::new(),
        }
    }

    /// The migrations that make up the schema, in order: without baselines that do not hold and what they cover.
    pub fn effective(&self) -> Vec<&'a Migration> {
        let baseline = self.baseline();
        let covered = |one: &Migration| {
            let by_version = baseline.is_some_and(|baseline| one.key.version <= baseline.key.version);
            one.key.kind == Kind::Versioned && by_version && !self.state.is_begun(&one.key)
        };
        let holds = |one: &&Migration| match one.key.kind {
            Kind::Baseline => baseline.is_some_and(|baseline| baseline.key == one.key),
            _ => !covered(one),
        };
        self.folder.migrations.iter().filter(holds).collect()
    }

    /// How a migration stands over all hosts that it is meant for.
    pub fn standing(&self, migration: &Migration) -> Standing {
        let traces: Vec<Standing> =
            self.state.hosts(&migration.key).map(|(_, trace)| trace.standing()).collect();
        if let Some(standing @ (Standing::InDoubt | Standing::Failed)) = traces.iter().max() {
            return *standing;
        }
        let (mut left, mut done) = (0, 0);
        for (number, statement) in (1..).zip(&migration.up.statements) {
            for host in self.hosts_of(&migration.key, statement) {
                match self.is_settled(migration, Direction::Up, number, &host) {
                    true => done += 1,
                    false => left += 1,
                }
            }
        }
        match (left, done) {
            _ if traces.contains(&Standing::Partial) => Standing::Partial,
            (0, _) => Standing::Applied,
            (_, 0) => Standing::Pending,
            _ => Standing::Partial,
        }
    }

    /// The row that counts.
    pub fn latest(&self, key: &Key, direction: Direction, number: u32, host: &str) -> Option<&'a Record> {
        self.state.trace(key, host)?.latest(direction, number)
    }

    fn is_settled(&self, migration: &Migration, direction: Direction, number: u32, host: &str) -> bool {
        self.latest(&migration.key, direction, number, host).is_some_and(|record| {
            let current = migration.key.kind != Kind::Repeatable || record.file_sha256 == migration.up.sha256;
            record.outcome.is_settled() && current
        })
    }

    /// Refuses files that were changed after they were run, and rows without a file.
    ///
    /// # Errors
    /// All of them at once.
    pub fn check(&self) -> Result<(), Error> {
        let missing: Vec<String> =
            self.state.keys().filter(|key| self.is_missing(key)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            return Err(Error::Missing(missing));
        }
        let changed: Vec<String> = self.changed().iter().map(|one| one.file.clone()).collect();
        if changed.is_empty() { Ok(()) } else { Err(Error::Changed(changed)) }
    }

    /// Whether it was run and has no file any more. Of a repeatable one that is how it ends.
    pub fn is_missing(&self, key: &Key) -> bool {
        key.kind != Kind::Repeatable && self.state.is_begun(key) && self.folder.get(key).is_none()
    }

    /// Files that are not as they were when they were run. Of one that is not through, what is not done may change.
    pub fn changed(&self) -> Vec<&'a Migration> {
        let is_changed = |one: &&Migration| {
            one.key.kind != Kind::Repeatable
                && self.state.hosts(&one.key).any(|(_, trace)| match trace.standing() {
                    Standing::Pending => false,
                    Standing::Applied => trace.file_sha256().is_some_and(|sha| sha != one.up.sha256),
                    _ => trace.up.values().filter(|record| record.outcome.is_settled()).any(|record| {
                        let at = usize::try_from(record.statement).unwrap_or_default().checked_sub(1);
                        let now = at.and_then(|at| one.up.statements.get(at));
                        now.is_none_or(|now| now.sha256 != record.statement_sha256)
                    }),
                })
        };
        self.folder.migrations.iter().filter(is_changed).collect()
    }

    /// What is to be run forwards: everything, up to a version, or one migration alone.
    ///
    /// # Errors
    /// A value of the environment that is not set or cannot be put in.
    pub fn up(
        &self,
        to: Option<&Version>,
        only: Option<&Key>,
        values: &Values,
    ) -> Result<Vec<Step<'a>>, Error> {
        let newest = self.newest();
        let mut steps = Vec::new();
        for migration in self.effective() {
            let beyond =
                to.is_some_and(|to| migration.key.kind == Kind::Repeatable || migration.key.version > *to);
            if beyond || only.is_some_and(|only| *only != migration.key) {
                continue;
            }
            if self.state.hosts(&migration.key).any(|(_, trace)| !trace.down.is_empty()) {
                return Err(Error::HalfTakenBack(migration.file.clone()));
            }
            let older = migration.key.kind == Kind::Versioned
                && newest.as_ref().is_some_and(|newest| migration.key.version < *newest);
            let danger = (older && !self.state.is_begun(&migration.key)).then_some(Danger::OutOfOrder);
            let mut own = self.steps_of(migration, Direction::Up, values)?;
            own.iter_mut().for_each(|step| step.dangers.extend(danger));
            steps.extend(own);
        }
        Ok(steps)
    }

    /// What is to be run to take back: every applied version above this one, or one migration alone; newest first.
    ///
    /// # Errors
    /// One that has no down file, or is not wholly run, and values of the environment as in [`Scope::up`].
    pub fn down(
        &self,
        to: Option<&Version>,
        only: Option<&Key>,
        values: &Values,
    ) -> Result<Vec<Step<'a>>, Error> {
        let mut steps = Vec::new();
        for migration in self.folder.migrations.iter().rev() {
            let beyond = to.is_some_and(|to| migration.key.version <= *to);
            let is_other = only.is_some_and(|only| *only != migration.key);
            if migration.key.kind != Kind::Versioned
                || beyond
                || is_other
                || !self.state.is_begun(&migration.key)
            {
                continue;
            }
            let is_begun = self.state.hosts(&migration.key).any(|(_, trace)| !trace.down.is_empty());
            if !is_begun && self.standing(migration) != Standing::Applied {
                return Err(Error::Unfinished(migration.file.clone()));
            }
            if migration.down.is_none() {
                return Err(Error::NoDown(migration.file.clone()));
            }
            steps.extend(self.steps_of(migration, Direction::Down, values)?);
        }
        Ok(steps)
    }

    fn newest(&self) -> Option<Version> {
        let begun = |key: &&Key| key.kind == Kind::Versioned && self.state.is_begun(key);
        self.state.keys().filter(begun).map(|key| key.version.clone()).max()
    }

    fn steps_of(
        &self,
        migration: &'a Migration,
        direction: Direction,
        values: &Values,
    ) -> Result<Vec<Step<'a>>, Error> {
        let mut steps = Vec::new();
        let script = migration.script(direction);
        for (number, statement) in (1..).zip(&script.statements) {
            let mut hosts = self.hosts_of(&migration.key, statement);
            hosts.retain(|host| !self.is_settled(migration, direction, number, host));
            if direction == Direction::Down {
                hosts.retain(|host| {
                    self.state.trace(&migration.key, host).is_some_and(|trace| !trace.up.is_empty())
                });
            }
            if hosts.is_empty() {
                continue;
            }
            let file = migration.file.clone();
            let filled = values.fill(&statement.text).map_err(|message| Error::Values { file, message })?;
            let dangers = statement.pragmas.danger.union(&statement.reading.dangers()).copied().collect();
            let verify = script.verify_of(statement);
            steps.push(Step { migration, direction, number, statement, filled, hosts, verify, dangers });
        }
        Ok(steps)
    }
}

/// Refuses what is dangerous and neither declared in the file nor allowed by name.
///
/// # Errors
/// The first such statement.
pub fn check_dangers(steps: &[Step<'_>], allowed: &BTreeSet<Danger>) -> Result<(), Error> {
    for step in steps {
        let undeclared = |danger: &&Danger| !step.statement.pragmas.danger.contains(danger);
        // A down file is there to remove things; going down is allowed by name all the same.
        if let (Direction::Up, Some(danger)) =
            (step.direction, step.statement.reading.dangers().iter().find(undeclared))
        {
            return Err(Error::Undeclared {
                file: step.file(),
                line: step.statement.line,
                danger: *danger,
                message: "the statement removes something, and the file does not say so",
            });
        }
        if let Some(danger) = step.dangers.iter().find(|danger| !allowed.contains(danger)) {
            return Err(Error::Danger { file: step.file(), statement: step.number, danger: *danger });
        }
    }
    Ok(())
}

/// Names a plan: what is run, where, and in which order. Values of the environment are not in it.
pub fn hash(steps: &[Step<'_>]) -> String {
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let Step { migration, direction, number, statement, hosts, .. } = step;
            format!("{} {direction:?} {number} {} {}", migration.key, statement.sha256, hosts.join(","))
        })
        .collect();
    script::sha256(&lines.join("\n")).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope<'a>(folder: &'a Folder, state: &'a State, hosts: &'a [String]) -> Scope<'a> {
        Scope { folder, state, hosts, target: Target::All }
    }

    /// Whoever goes on may name another endpoint first: what one server has done for all is not done on a second one.
    #[test]
    fn what_is_run_on_one_host_stays_on_it_whoever_is_named_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let create = "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x";
        write("V1__t.sql", &format!("{create};\n-- penstock: target=one\nINSERT INTO t VALUES (1)"));
        write("V2__c.sql", "ALTER TABLE t ON CLUSTER c ADD COLUMN y Int8");
        let folder = Folder::read(folder.path()).unwrap();
        let [one, two] = [["a", "b"], ["b", "a"]].map(|hosts| hosts.map(str::to_owned));
        let gone = ["c".to_owned()];
        let (nothing, mut state) = (State::default(), State::default());
        let steps = |state: &State, hosts: &[String]| -> Vec<(u32, String)> {
            let steps = scope(&folder, state, hosts).up(None, None, &Values::default()).unwrap();
            steps.iter().map(|step| (step.number, step.hosts.join(" "))).collect()
        };
        let text = |all: &[(u32, &str)]| -> Vec<(u32, String)> {
            all.iter().map(|(number, hosts)| (*number, (*hosts).to_owned())).collect()
        };
        assert_eq!(steps(&nothing, &one), text(&[(1, "a b"), (2, "a"), (1, "a")]));
        assert_eq!(steps(&nothing, &two), text(&[(1, "b a"), (2, "b"), (1, "b")]));
        let migration = &folder.migrations[0];
        let done = |state: &mut State, number: u32, host: &str, seq| {
            let statement = &migration.up.statements[usize::try_from(number - 1).unwrap()];
            let record =
                scope(&folder, &nothing, &one).record(migration, Direction::Up, (number, statement), host);
            state.add(&Record { seq, outcome: Outcome::Done, ..record });
        };
        done(&mut state, 1, "a", 1);
        done(&mut state, 1, "b", 2);
        let half = state.clone();
        assert_eq!(steps(&half, &two), text(&[(2, "a"), (1, "b")]));
        done(&mut state, 2, "a", 3);
        assert_eq!(steps(&state, &two), text(&[(1, "b")]), "the INSERT is done");
        assert_eq!(scope(&folder, &state, &two).standing(migration), Standing::Applied);
        assert_eq!(steps(&state, &gone), text(&[(1, "c"), (1, "c")]), "a new endpoint needs the table alone");
    }
}

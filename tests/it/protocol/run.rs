//! One run of the model: a schedule lets members, messages, servers and faults take turns, then everything is
//! healed and drained, and the table is compared with the log.
//!
//! A schedule is a list of numbers, so that it can be made at random and shrunk. Smaller numbers are tamer actions.

use std::time::Instant;

use penstock::delivery::Ledger;
use penstock::delivery::plan::Snapshot;
use penstock::record::Offset;

use super::owner::{Clock, Owner, Rules, SESSION};
use super::world::{Answer, Group, Insert, Kind, Log, Member, PARTS, Server, Stamp, Time};

const MEMBERS: usize = 3;
/// How long a member that is asked to let go may wait for answers.
const HOLD: Time = 8;
const STEPS_PER_SECOND: usize = 10;
const DRAIN_ROUNDS_MAX: usize = 3_000;
/// The bits of all that a process can do in a turn.
const EVERYTHING: usize = 0x7f;

/// What can happen, and how often of 1,000 times. The first is what a schedule shrinks to.
#[derive(Clone, Copy, Debug)]
enum Action {
    Work,
    TakeCommit,
    AnswerCommit,
    TakeInsert,
    AnswerInsert,
    Produce,
    GiveUpInsert,
    GiveUpCommit,
    Rebalance,
    Expire,
    Crash,
    Pause,
    CutOff,
    Wait,
    Others,
    Constraint,
    Recreate,
    Compact,
}

const WEIGHTS: &[(Action, u32)] = &[
    (Action::Work, 470),
    (Action::TakeCommit, 110),
    (Action::AnswerCommit, 110),
    (Action::TakeInsert, 90),
    (Action::AnswerInsert, 90),
    (Action::Produce, 34),
    (Action::GiveUpInsert, 14),
    (Action::GiveUpCommit, 8),
    (Action::Rebalance, 6),
    (Action::Expire, 22),
    (Action::Crash, 3),
    (Action::Pause, 4),
    (Action::CutOff, 3),
    (Action::Wait, 3),
    (Action::Others, 10),
    (Action::Constraint, 9),
    (Action::Recreate, 2),
    (Action::Compact, 12),
];

/// A process of ours.
#[derive(Default)]
struct Process {
    /// Counts its lives and memberships.
    life: u64,
    alive: bool,
    /// Does nothing until then.
    paused: Time,
    /// Neither reaches Kafka nor is reached until then.
    cut_off: Time,
    /// When the coordinator last heard of it.
    heard: Time,
    /// What the client stamps commits with now.
    stamp: Option<Stamp>,
    /// A generation it has not looked at yet.
    assigned: bool,
    owner: Option<Owner>,
    /// Counts owners, so that answers find theirs.
    assignment: u64,
    /// A commit that the client has not sent yet, and before when it does not.
    queued: Option<(u64, Snapshot, Time)>,
    /// Asked to let go until then; `None` in it when the partition is lost already.
    leaving: Option<Option<Time>>,
}

impl Process {
    /// The owner, while the partition is its own.
    fn active(&mut self, incarnation: u32) -> Option<&mut Owner> {
        let lost = self.leaving == Some(None);
        self.owner.as_mut().filter(|owner| owner.incarnation == incarnation && !lost)
    }
}

struct Commit {
    serial: u64,
    stamp: Stamp,
    snapshot: Snapshot,
    incarnation: u32,
}

struct CommitAnswer {
    serial: u64,
    process: usize,
    snapshot: Snapshot,
    accepted: Option<bool>,
}

struct Copy {
    process: usize,
    assignment: u64,
    attempt: u64,
    insert: Insert,
    stuck: Time,
}

pub struct Run {
    rules: Rules,
    clock: Clock,
    log: Log,
    group: Group,
    server: Server,
    processes: [Process; MEMBERS],
    commits: Vec<Commit>,
    commit_answers: Vec<CommitAnswer>,
    copies: Vec<Copy>,
    insert_answers: Vec<(usize, u64, u64, Option<Answer>)>,
    serial: u64,
    /// After the schedule nothing goes wrong any more.
    healed: bool,
}

/// Runs a schedule; `Err` says which record was lost or came twice.
pub fn run(rules: Rules, schedule: &[u32]) -> Result<(), String> {
    let mut run = Run {
        rules,
        clock: Clock { begin: Instant::now(), now: 1_000 },
        log: Log::default(),
        group: Group::default(),
        server: Server::new(rules.plain, rules.window_blocks, rules.window),
        processes: Default::default(),
        commits: Vec::new(),
        commit_answers: Vec::new(),
        copies: Vec::new(),
        insert_answers: Vec::new(),
        serial: 0,
        healed: false,
    };
    for number in 0..40 {
        run.log.produce(number % 3, u32::try_from(number).unwrap_or_default() * 7 + 2);
    }
    for (number, step) in schedule.iter().enumerate() {
        run.clock.now += Time::from(number % STEPS_PER_SECOND == 0);
        run.step(*step)?;
    }
    run.drain()?;
    run.verdict()
}

impl Run {
    fn step(&mut self, step: u32) -> Result<(), String> {
        let (action, number) = action(step);
        let n = usize::try_from(number).unwrap_or_default();
        match action {
            Action::Produce => self.log.produce(i64::from(number % 3), number / 3),
            Action::Rebalance => self.group.rebalance(),
            Action::Wait => self.clock.now += i64::from(number % 100),
            Action::Others => (0..number % 6).for_each(|_| self.server.block(self.clock.now)),
            Action::Constraint => self.server.strict = !self.server.strict,
            Action::Compact => self.log.compact(n),
            Action::Recreate => self.recreate(),
            Action::TakeCommit => self.take_commit(n),
            Action::AnswerCommit => self.answer_commit(n),
            Action::TakeInsert => self.take_insert(n),
            Action::AnswerInsert => self.answer_insert(n),
            other => {
                // The owner has most to do.
                let owner = self.group.owner.unwrap_or_default();
                let at = if n % 5 < MEMBERS { n % 5 } else { owner };
                return self.process_step(other, at, n / 5);
            }
        }
        Ok(())
    }

    fn process_step(&mut self, action: Action, at: usize, n: usize) -> Result<(), String> {
        let (now, number) = (self.clock.now, i64::try_from(n).unwrap_or_default());
        let process = &mut self.processes[at];
        match action {
            Action::Expire => {
                if process.heard + SESSION <= now {
                    self.group.remove(at);
                }
                return Ok(());
            }
            Action::Crash => {
                *process = Process {
                    life: process.life + 1,
                    assignment: process.assignment + 1,
                    ..Process::default()
                };
                process.heard = now;
                return Ok(());
            }
            _ if now < process.paused => return Ok(()),
            Action::Pause => process.paused = now + 10 + number % 60,
            Action::CutOff => process.cut_off = now + 5 + number % 40,
            _ => {}
        }
        if process.cut_off <= now {
            process.heard = now;
        }
        match action {
            Action::Work => return self.work(at, n),
            Action::GiveUpCommit => self.give_up_commit(at),
            Action::GiveUpInsert => {
                if let Some(owner) = &mut self.processes[at].owner
                    && let Some(attempt) = owner.awaited(n)
                {
                    owner.answered(attempt, None);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// One turn of a process: each thing it could do, it does or leaves, as the bits of `n` say.
    fn work(&mut self, at: usize, n: usize) -> Result<(), String> {
        let does = |bit: usize| n >> bit & 1 == 1;
        let choice = n >> 7;
        if does(0) {
            self.poll(at, choice);
        }
        if does(1) {
            self.read(at, choice)?;
        }
        if does(2) {
            self.commit(at, choice);
        }
        if does(3) {
            self.leave(at);
        }
        if does(4) {
            self.resolve(at, choice);
        }
        if does(5) {
            self.send(at, choice);
        }
        if does(6)
            && let Some(owner) = self.processes[at].active(self.log.incarnation)
        {
            owner.letter(&mut self.log);
        }
        Ok(())
    }

    fn read(&mut self, at: usize, n: usize) -> Result<(), String> {
        let reaches = self.processes[at].cut_off <= self.clock.now;
        let (clock, count) = (self.clock, u32::try_from(n % 5).unwrap_or_default() + 1);
        let cut = n.is_multiple_of(3) || self.healed;
        let Run { log, processes, .. } = self;
        let Process { owner, leaving, .. } = &mut processes[at];
        match owner {
            Some(owner) if reaches && leaving.is_none() && owner.incarnation == log.incarnation => {
                owner.read(log, clock, count, cut)
            }
            _ => Ok(()),
        }
    }

    fn resolve(&mut self, at: usize, n: usize) {
        if let Some(owner) = self.processes[at].active(self.log.incarnation) {
            owner.resolve(n, self.clock, &self.server);
        }
    }

    fn send(&mut self, at: usize, n: usize) {
        let process = &mut self.processes[at];
        let assignment = process.assignment;
        let Some(owner) = process.active(self.log.incarnation) else { return };
        self.serial += 1;
        if let Some(insert) = owner.send(n, self.clock, self.serial) {
            let stuck = if n % 20 == 7 && !self.healed { n % 150 } else { 0 };
            let stuck = self.clock.now + i64::try_from(stuck).unwrap_or_default();
            self.copies.push(Copy { process: at, assignment, attempt: self.serial, insert, stuck });
        }
    }

    /// The member talks to the coordinator and learns what changed.
    fn poll(&mut self, at: usize, n: usize) {
        let (now, rules) = (self.clock.now, self.rules);
        let process = &mut self.processes[at];
        if now < process.cut_off {
            return;
        }
        if process.leaving == Some(None) {
            self.group.remove(at);
        }
        let known = self.group.is_member((at, process.life));
        if !known && process.alive && process.leaving != Some(None) {
            // The client hears of it first, and stamps no more commits as a member.
            let outside = Stamp { member: (at, process.life), generation: -1 };
            if process.stamp != Some(outside) && process.queued.is_none() {
                process.stamp = Some(outside);
                return;
            }
            process.assigned = false;
            process.leaving = Some(None);
            return self.let_go(at, n);
        }
        if !known {
            return self.let_go(at, n);
        }
        if process.assigned {
            process.assigned = false;
            if self.group.owner == Some(at) && process.owner.is_none() {
                process.assignment += 1;
                process.leaving = None;
                let lineage =
                    (u64::try_from(n).unwrap_or_default() << 20) + process.assignment * 8 + at as u64;
                process.owner = Some(Owner::begin(rules, &self.group, lineage, self.clock));
            }
            return;
        }
        if self.group.waiting.as_ref().is_some_and(|waiting| waiting.contains(&at)) {
            process.leaving.get_or_insert(Some(now + HOLD));
            self.let_go(at, n);
        }
    }

    /// Acknowledges that the partition is given up, if it may be.
    fn let_go(&mut self, at: usize, n: usize) {
        let process = &mut self.processes[at];
        let busy = process.owner.as_ref().is_some_and(|owner| owner.commit_on_its_way.is_some());
        let held = match (&mut process.owner, process.leaving) {
            (Some(owner), Some(Some(until))) if self.clock.now < until => !owner.is_settled(),
            _ => false,
        };
        if self.rules.fence_first && (busy || held) {
            return;
        }
        process.owner = None;
        process.leaving = None;
        if self.group.is_member((at, process.life)) {
            if self.group.let_go(at, n) {
                self.generation_begins();
            }
            return;
        }
        process.life += 1;
        process.alive = true;
        process.stamp = None;
        process.heard = self.clock.now;
        self.group.join((at, process.life));
        // A member that joins has nothing to let go.
        if self.group.let_go(at, n) {
            self.generation_begins();
        }
    }

    fn generation_begins(&mut self) {
        for (at, life) in self.group.members.clone() {
            let process = &mut self.processes[at];
            if process.life == life {
                process.stamp = Some(Stamp { member: (at, life), generation: self.group.generation });
                process.assigned = true;
            }
        }
    }

    fn commit(&mut self, at: usize, n: usize) {
        let (clock, incarnation) = (self.clock, self.log.incarnation);
        let process = &mut self.processes[at];
        let queued = process.queued.is_some();
        let Some(owner) = process.active(incarnation) else { return };
        if owner.may_be_fenced(clock) {
            // Like a partition that is lost: given up, and the group joined anew.
            if owner.commit_on_its_way.is_none() {
                process.owner = None;
                self.group.remove(at);
            }
            return;
        }
        if let Some(snapshot) = owner.snapshot(clock).filter(|_| !queued) {
            self.serial += 1;
            owner.commit_on_its_way = Some(self.serial);
            let stuck = if n % 8 == 5 && !self.healed { n % 60 } else { 0 };
            let stuck = clock.now + i64::try_from(stuck).unwrap_or_default();
            process.queued = Some((self.serial, snapshot, stuck));
        }
    }

    /// The client sends the commit that waits in it.
    fn leave(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(stamp) = process.stamp.filter(|_| process.cut_off <= self.clock.now) else { return };
        let ready = |queued: &mut (u64, Snapshot, Time)| queued.2 <= self.clock.now || self.healed;
        let Some((serial, snapshot, _)) = process.queued.take_if(ready) else { return };
        self.commits.push(Commit { serial, stamp, snapshot, incarnation: self.log.incarnation });
    }

    /// Waits no longer for the answer of a commit that has been sent.
    fn give_up_commit(&mut self, at: usize) {
        let Some(owner) = &mut self.processes[at].owner else { return };
        let sent = |serial| self.commits.iter().any(|commit| commit.serial == serial);
        owner.commit_on_its_way = owner.commit_on_its_way.filter(|serial| !sent(*serial));
    }

    fn take_commit(&mut self, n: usize) {
        if self.commits.is_empty() {
            return;
        }
        let mut index = n % self.commits.len();
        if self.rules.commits_in_order {
            let member: Member = self.commits[index].stamp.member;
            index = self.commits.iter().position(|commit| commit.stamp.member == member).unwrap_or(index);
        }
        let member = self.commits[index].stamp.member;
        if self.clock.now < self.processes[member.0].cut_off {
            return;
        }
        let Commit { serial, stamp, snapshot, incarnation } = self.commits.remove(index);
        let lost = n % 25 == 3 && !self.healed;
        let handled = incarnation == self.log.incarnation && !(lost && n.is_multiple_of(2));
        let accepted = handled && self.group.commit(stamp, snapshot.offset.0, &snapshot.text);
        let accepted = (!lost).then_some(accepted);
        self.commit_answers.push(CommitAnswer { serial, process: member.0, snapshot, accepted });
    }

    fn answer_commit(&mut self, n: usize) {
        if self.commit_answers.is_empty() {
            return;
        }
        let CommitAnswer { serial, process, snapshot, accepted } =
            self.commit_answers.remove(n % self.commit_answers.len());
        let process = &mut self.processes[process];
        let awaited = |owner: &&mut Owner| owner.commit_on_its_way == Some(serial);
        let Some(owner) = process.owner.as_mut().filter(awaited) else { return };
        owner.commit_on_its_way = None;
        match accepted {
            Some(true) => owner.acknowledge(&snapshot),
            Some(false) => process.leaving = Some(None),
            None => {}
        }
    }

    fn take_insert(&mut self, n: usize) {
        let now = self.clock.now;
        let ready: Vec<usize> = (0..self.copies.len()).filter(|at| self.copies[*at].stuck <= now).collect();
        let Some(index) = ready.get(n % ready.len().max(1)).copied() else { return };
        let fault = if self.healed { 0 } else { n / 7 % 40 };
        let copy = &self.copies[index];
        let die_at = (fault == 1 || fault == 2).then(|| i64::try_from(fault).unwrap_or_default() % PARTS);
        let lost = fault == 3;
        let answer = if lost { None } else { self.server.insert(&copy.insert, now, die_at) };
        // A proxy may send it once more, but for what was refused.
        if fault == 4 && answer == Some(Answer::Done) {
            self.copies[index].stuck = now + i64::try_from(n % 100).unwrap_or_default();
            let Copy { process, assignment, attempt, .. } = self.copies[index];
            return self.insert_answers.push((process, assignment, attempt, answer));
        }
        let copy = self.copies.remove(index);
        self.insert_answers.push((copy.process, copy.assignment, copy.attempt, answer));
    }

    fn answer_insert(&mut self, n: usize) {
        if self.insert_answers.is_empty() {
            return;
        }
        let index = n % self.insert_answers.len();
        if self.clock.now < self.processes[self.insert_answers[index].0].paused {
            return;
        }
        let (at, assignment, attempt, answer) = self.insert_answers.remove(index);
        let answer = answer.filter(|_| n % 15 != 4 || self.healed);
        let process = &mut self.processes[at];
        if let Some(owner) = process.owner.as_mut().filter(|_| process.assignment == assignment) {
            owner.answered(attempt, answer);
        }
    }

    fn recreate(&mut self) {
        if self.log.incarnation < 2 {
            self.log.recreate();
            self.group.committed = None;
            self.group.incarnation = self.log.incarnation;
            self.commits.clear();
            for process in &mut self.processes {
                process.queued = None;
                process.owner.iter_mut().for_each(|owner| owner.commit_on_its_way = None);
            }
            self.group.rebalance();
            for number in 0..20 {
                self.log.produce(number % 2, u32::try_from(number).unwrap_or_default() * 5 + 2);
            }
        }
    }

    /// Ends all faults and goes on until everything is committed and no message is left.
    fn drain(&mut self) -> Result<(), String> {
        self.healed = true;
        self.server.strict = false;
        for process in &mut self.processes {
            (process.paused, process.cut_off) = (0, 0);
        }
        let mut rounds = (0..DRAIN_ROUNDS_MAX).map(|round| round * 31);
        while !self.is_drained() {
            let n = rounds.next().ok_or_else(|| self.stuck())?;
            for at in 0..MEMBERS {
                self.clock.now += 1;
                self.work(at, EVERYTHING | n << 7)?;
                self.take_commit(n);
                self.answer_commit(n);
                self.take_insert(n);
                self.answer_insert(n);
            }
        }
        for copy in std::mem::take(&mut self.copies) {
            self.server.insert(&copy.insert, self.clock.now.max(copy.stuck), None);
        }
        Ok(())
    }

    fn stuck(&self) -> String {
        let owners: Vec<_> = self.processes.iter().filter_map(|process| process.owner.as_ref()).collect();
        format!("what is left is never committed: {:?} by {owners:?}", self.group)
    }

    fn is_drained(&self) -> bool {
        let first = self.log.records.keys().next();
        let Some((offset, text)) = &self.group.committed else { return first.is_none() };
        let ledger = Ledger::parse(text, Offset(*offset)).expect("a text of ours is sound");
        let open = ledger.is_some_and(|ledger| !ledger.intents.is_empty());
        !open && self.log.records.range(offset..).next().is_none()
    }

    /// Every record is in the table once, but for dead letters and what was taken out of the log.
    fn verdict(&self) -> Result<(), String> {
        let twice = self.server.table.iter().find(|(_, copies)| 1 < **copies);
        if let Some((id, copies)) = twice {
            return Err(format!("{id:?} is in the table {copies} times"));
        }
        let settled = |id, kind| match kind {
            Kind::Filtered => !self.server.table.contains_key(&id),
            Kind::Row => self.server.table.contains_key(&id) || self.log.letters.contains(&id),
            Kind::Letter => self.log.letters.contains(&id),
        };
        let mut records = self.log.records.iter().map(|(offset, kind)| (self.log.id(*offset), *kind));
        match records.find(|(id, kind)| !settled(*id, *kind)) {
            Some((id, kind)) => Err(format!("{id:?} ({kind:?}) is lost")),
            None => Ok(()),
        }
    }
}

/// What a step of a schedule stands for, and a number to choose with.
fn action(step: u32) -> (Action, u32) {
    let mut left = step % 1_000;
    let passed = WEIGHTS.iter().take_while(|(_, weight)| match left.checked_sub(*weight) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    let index = passed.count();
    (WEIGHTS.get(index).map_or(Action::Work, |(action, _)| *action), step / 1_000)
}

/// A schedule in words.
pub fn story(schedule: &[u32]) -> String {
    let words = schedule.iter().map(|step| format!("{:?}({})", action(*step).0, step / 1_000));
    words.collect::<Vec<_>>().join(" ")
}

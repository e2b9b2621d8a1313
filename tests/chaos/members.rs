//! The lane of one penstock: its lives, and how each of them ends.
//!
//! It refuses to stay down. A process that ends by itself is started again, as whoever runs it would, and that is
//! noted; only the operator keeps it down for a while.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::Act;
use crate::harness::Penstock;
use crate::plan::{Step, Steps};
use crate::world::{DEADLINE, World};

/// A place that is not come to within this time is not come to at all.
const POINT_TIME_MAX: Duration = Duration::from_secs(15);
const TERM_TIME_MAX: Duration = Duration::from_secs(20);
/// A thawed member is left alone for this long, to do what harm it can.
const AFTER_THAW: Duration = Duration::from_secs(3);

pub struct Member<'w> {
    world: &'w World,
    name: String,
    lives: usize,
    faults: Value,
    process: Option<Penstock>,
    /// Joins for a while, so that the others have to give partitions back.
    guest: Option<Penstock>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Reached,
    TimeIsUp,
    /// The operator wants everybody down, and has had it so.
    WasDown,
}

impl<'w> Member<'w> {
    pub fn new(world: &'w World, index: usize) -> Member<'w> {
        Member {
            world,
            name: format!("member-{index}"),
            lives: 0,
            faults: Value::Null,
            process: None,
            guest: None,
        }
    }

    /// One more, in peace from the start.
    pub fn reinforcement(world: &'w World) -> Member<'w> {
        let mut member = Member::new(world, world.layout.members);
        member.start(Value::Null);
        member
    }

    /// Lives and dies until the operator is through, then lives in peace.
    pub fn run(mut self, mut steps: Steps) -> Member<'w> {
        self.start(Value::Null);
        while !self.world.members_over.load(Ordering::Acquire) {
            match steps.next() {
                Some(step) => self.suffer(&step),
                None => {
                    self.live(Duration::from_millis(500));
                }
            }
        }
        // In order, so that a run without faults of members has none.
        self.terminate();
        self.start(Value::Null);
        self
    }

    fn start(&mut self, faults: Value) {
        let mut config = self.world.config.clone();
        if self.world.layout.static_names {
            config = config.set("kafka.instance_id", self.name.as_str());
        }
        if !faults.is_null() {
            config = config.set("faults", faults.clone());
        }
        self.faults = faults;
        self.lives += 1;
        self.process = Some(Penstock::run(&config));
    }

    fn keep_log(&mut self) {
        if let Some(process) = self.process.take() {
            self.world.keep_log(format!("{}-life-{:03}.log", self.name, self.lives), process.log());
        }
    }

    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process
            && process.is_running()
        {
            process.kill9();
        }
        self.keep_log();
    }

    /// Asks it to end; its exit code, None if it had to be killed.
    pub fn terminate(&mut self) -> Option<i32> {
        let process = self.process.as_mut()?;
        if process.is_running() {
            process.cont();
            process.sigterm();
        }
        let ended = self.world.pause(TERM_TIME_MAX, || !process.is_running());
        let code = if ended { process.wait_exit(TERM_TIME_MAX) } else { None };
        self.kill();
        code
    }

    /// Starts it again if it has ended by itself.
    pub fn tend(&mut self) {
        let Some(process) = &mut self.process else { return };
        if process.is_running() {
            return;
        }
        let code = process.wait_exit(TERM_TIME_MAX);
        let life = self.lives;
        self.world.note(&self.name, &format!("life {life} ended by itself, exit code {code:?}"));
        self.keep_log();
        let faults = self.faults.clone();
        self.start(faults);
    }

    /// Lets it live until the condition holds.
    fn wait(&mut self, longest: Duration, mut until: impl FnMut(&mut Penstock) -> bool) -> Waited {
        let world = self.world;
        let mut was_down = false;
        let reached = world.pause(longest, || {
            if world.halted.load(Ordering::Acquire) {
                self.stay_down();
                was_down = true;
                return true;
            }
            self.process.as_mut().is_some_and(&mut until)
        });
        match (was_down, reached) {
            (true, _) => Waited::WasDown,
            (false, true) => Waited::Reached,
            (false, false) => Waited::TimeIsUp,
        }
    }

    /// Lets it live for a while, and starts it again if it ends meanwhile.
    fn live(&mut self, time: Duration) -> Waited {
        let end = std::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.wait(left, |process| !process.is_running()) {
                Waited::Reached => {
                    self.tend();
                    // What ends again and again is not started again and again at once.
                    self.wait(Duration::from_millis(500), |_| false);
                }
                other => return other,
            }
        }
    }

    fn stay_down(&mut self) {
        let world = self.world;
        self.send_away_guest();
        if self.terminate() != Some(0) {
            world.note(&self.name, "did not end in order when the operator asked for it");
        }
        world.members_down.fetch_add(1, Ordering::AcqRel);
        world.pause(DEADLINE * 10, || !world.halted.load(Ordering::Acquire));
        world.members_down.fetch_sub(1, Ordering::AcqRel);
        self.start(Value::Null);
    }

    fn suffer(&mut self, step: &Step) {
        if let Act::CrashAt(point) = step.fault.act {
            return self.crash_at(point, step);
        }
        if let Act::FreezeAt(point) = step.fault.act {
            return self.freeze_at(point, step);
        }
        if self.live(step.gap) == Waited::WasDown {
            return;
        }
        let happened = match step.fault.act {
            Act::MemberKill => {
                self.kill();
                self.start(Value::Null);
                true
            }
            Act::MemberRestart => {
                let code = self.terminate();
                self.start(Value::Null);
                self.expect_orderly(code);
                true
            }
            Act::MemberLeave => {
                let code = self.terminate();
                self.expect_orderly(code);
                // Nobody is there to be halted, so this is no wait for a living member.
                let (world, hold) = (self.world, step.hold + Duration::from_secs(2));
                world.pause(hold, || world.halted.load(Ordering::Acquire));
                self.start(Value::Null);
                true
            }
            Act::ClockJump => {
                self.kill();
                let span = i64::try_from(60_000 + step.draw % (3 * 86_400_000)).unwrap_or(0);
                let offset = if step.draw.is_multiple_of(2) { span } else { -span };
                self.start(json!({ "clock_offset_ms": offset }));
                true
            }
            Act::MemberFreeze | Act::MemberZombie => self.freeze(step.hold),
            other => unreachable!("{other:?} is not a member's"),
        };
        if happened {
            self.world.did(&self.name, step.fault.name.to_owned());
        }
    }

    fn expect_orderly(&self, code: Option<i32>) {
        // With a server away the drain cannot be finished, and that has an exit code of its own.
        if code != Some(0) {
            self.world.note(&self.name, &format!("asked to end, exit code {code:?}"));
        }
    }

    /// Frozen for this long, then watched for a while; whether it was.
    fn freeze(&mut self, hold: Duration) -> bool {
        let Some(process) = self.process.as_mut() else { return false };
        if !process.is_running() {
            return false;
        }
        process.stop();
        if self.wait(hold, |_| false) == Waited::WasDown {
            return false;
        }
        if let Some(process) = &self.process {
            process.cont();
        }
        self.live(AFTER_THAW);
        true
    }

    fn crash_at(&mut self, point: &str, step: &Step) {
        self.live(step.gap / 4);
        self.kill();
        self.start(json!({ "crash_at": point, "after": times(point, step.draw) }));
        if point.starts_with("revoke") {
            // Once this one owns its share, somebody joins who is to have a part of it.
            let owns = |process: &mut Penstock| process.log().contains("partitions assigned");
            if self.wait(POINT_TIME_MAX, owns) == Waited::WasDown {
                return;
            }
            self.guest = Some(Penstock::run(&self.world.config));
        }
        self.await_crash(step);
        self.send_away_guest();
    }

    fn send_away_guest(&mut self) {
        if let Some(mut guest) = self.guest.take() {
            guest.sigterm();
            self.world.pause(TERM_TIME_MAX, || !guest.is_running());
        }
    }

    fn await_crash(&mut self, step: &Step) {
        // It may end before it gets there, while a server is away; then it gets another life.
        let end = std::time::Instant::now() + POINT_TIME_MAX;
        while std::time::Instant::now() < end {
            match self.wait(POINT_TIME_MAX, |process| !process.is_running()) {
                Waited::WasDown => return,
                Waited::TimeIsUp => break,
                Waited::Reached if self.announced() => {
                    self.world.did(&self.name, step.fault.name.to_owned());
                    self.keep_log();
                    return self.start(Value::Null);
                }
                Waited::Reached => self.tend(),
            }
        }
        self.world.note(&self.name, &format!("{} was not come to", step.fault.name));
        self.kill();
        self.start(Value::Null);
    }

    fn freeze_at(&mut self, point: &str, step: &Step) {
        self.live(step.gap / 4);
        self.kill();
        let release: PathBuf = self.world.folder.path().join(format!("{}-{}", self.name, self.lives));
        let after = times(point, step.draw);
        self.start(json!({ "pause_at": point, "after": after, "release_file": release }));
        match self.wait(POINT_TIME_MAX, |process| process.log().contains("fault point reached")) {
            Waited::WasDown => return,
            Waited::TimeIsUp => self.world.note(&self.name, &format!("{} was not come to", step.fault.name)),
            Waited::Reached => {
                if let Some(process) = self.process.as_ref() {
                    process.stop();
                    // It goes on from exactly there once it is thawed.
                    std::fs::write(&release, "").expect("a file");
                    if self.freeze(step.hold) {
                        self.world.did(&self.name, step.fault.name.to_owned());
                    }
                }
            }
        }
        self.kill();
        self.start(Value::Null);
    }

    fn announced(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.log().contains("fault point reached"))
    }
}

/// How often a place is passed before it breaks: rare ones at once.
fn times(point: &str, draw: u64) -> u64 {
    let most = match point {
        "sealed" | "insert_started" | "insert_answered" | "batch_settled" => 12,
        "intent_commit_sent" | "intent_committed" | "closing_commit_sent" | "closing_committed" => 12,
        "dead_letter_sent" | "dead_letter_acked" => 3,
        _ => 1,
    };
    1 + draw % most
}

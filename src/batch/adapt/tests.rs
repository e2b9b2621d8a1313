//! A small server, on which inserts make parts and merges take them away, and processes that flood it.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::config::Pressure;
use super::*;
use crate::units::Span;

const STEP: Duration = Duration::from_millis(10);
const LATENCY_STEPS: u64 = 3;
const ROWS_PER_STEP: usize = 50;

/// A process that closes a batch every 10 rows or 50 ms, if it may.
struct Process {
    controller: Controller,
    open: Option<(Instant, usize)>,
    queue: VecDeque<usize>,
    /// When they end, their number, and their rows.
    sent: VecDeque<(u64, u64, usize)>,
    asked_at: u64,
}

struct Simulation {
    reading: Reading,
    start: Instant,
    step: u64,
    merged: f64,
    processes: Vec<Process>,
    written: usize,
    inserts: u64,
    most: u64,
}

fn config() -> Config {
    Config { rows_max: 10, age_max: Span::millis(50), ..Config::default() }
}

impl Simulation {
    fn new(processes: usize, counted: bool, (delay_at, refuse_at): (u64, u64)) -> Simulation {
        let process = || {
            let mut controller = Controller::new(&config());
            if counted {
                controller.set_share(1, processes);
            }
            Process { controller, open: None, queue: VecDeque::new(), sent: VecDeque::new(), asked_at: 0 }
        };
        Simulation {
            reading: Reading { delay_at, refuse_at, ..Reading::default() },
            start: Instant::now(),
            step: 0,
            merged: 0.0,
            processes: (0..processes).map(|_| process()).collect(),
            written: 0,
            inserts: 0,
            most: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + STEP * u32::try_from(self.step).unwrap()
    }

    /// Runs on, with this many parts merged away per second, and gives the rows written per second.
    fn run(&mut self, seconds: u64, merges_per_second: f64) -> f64 {
        let before = self.written;
        for _ in 0..seconds * 100 {
            self.step += 1;
            let now = self.now();
            self.merged += merges_per_second * STEP.as_secs_f64();
            while 1.0 <= self.merged {
                self.merged -= 1.0;
                self.reading.parts = self.reading.parts.saturating_sub(1).max(1.min(self.reading.parts));
            }
            for process in &mut self.processes {
                let landed = process.turn(self.step, now, self.reading);
                for rows in landed {
                    assert!(
                        self.reading.parts < self.reading.refuse_at,
                        "refused: {} parts",
                        self.reading.parts
                    );
                    self.reading.parts += 1;
                    self.written += rows;
                    self.inserts += 1;
                }
                self.most = self.most.max(self.reading.parts);
            }
        }
        (self.written - before) as f64 / seconds as f64
    }
}

impl Process {
    fn turn(&mut self, step: u64, now: Instant, reading: Reading) -> Vec<usize> {
        let mut landed = Vec::new();
        while self.sent.front().is_some_and(|(end, ..)| *end <= step) {
            let (_, number, rows) = self.sent.pop_front().unwrap();
            self.controller.end(number, Outcome::Written);
            landed.push(rows);
        }
        let since = step - self.asked_at;
        if self.asked_at == 0 || 500 <= since || (self.controller.wants_reading() && 100 <= since) {
            self.asked_at = step;
            // What has landed this very step is not in the answer, and not among what has ended for it.
            let asked = Asked { ended: self.controller.ended - landed.len() as u64 };
            self.controller.read(reading, asked, now);
        }
        let limits = self.controller.limits(now);
        if self.queue.len() <= limits.in_flight_max {
            self.open.get_or_insert((now, 0)).1 += ROWS_PER_STEP;
        }
        if let Some((opened, rows)) = self.open
            && (limits.rows_max <= rows || limits.age_max <= now - opened)
        {
            self.queue.push_back(rows);
            self.open = None;
        }
        while self.sent.len() < limits.in_flight_max && !self.queue.is_empty() {
            let Admission::Go(number) = self.controller.begin(now) else { break };
            self.sent.push_back((step + LATENCY_STEPS, number, self.queue.pop_front().unwrap()));
        }
        landed
    }
}

/// Rows per second that one process can take in.
const FLOOD: f64 = ROWS_PER_STEP as f64 * 100.0;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_insert_is_refused_from_a_cold_start_at_any_rate_of_merges(
        merges_log10 in -2.0f64..2.3,
        processes in 1usize..12,
        delay_at in prop_oneof![20u64..60, 20u64..1200],
    ) {
        let mut sim = Simulation::new(processes, true, (delay_at, delay_at * 5 / 3));
        let merges = 10f64.powf(merges_log10);
        sim.run(240, merges);
        // An insert of each process every half minute is what the slowest merges have to digest.
        let most = if processes as f64 / 20.0 < merges { delay_at - 1 } else { delay_at * 4 / 3 };
        prop_assert!(sim.most <= most, "{} of {delay_at}", sim.most);
        prop_assert!(0 < sim.inserts);
    }

    #[test]
    fn processes_that_do_not_know_of_each_other_share_what_merges_digest(
        merges in 0.5f64..50.0,
        processes in 2usize..8,
    ) {
        let mut sim = Simulation::new(processes, false, (300, 900));
        // What is refused fails within.
        sim.run(240, merges);
        let before: Vec<u64> = sim.processes.iter().map(|p| p.controller.ended).collect();
        sim.most = 0;
        sim.run(240, merges);
        prop_assert!(sim.most < 600, "{}", sim.most);
        for (process, before) in sim.processes.iter().zip(before) {
            prop_assert!(before < process.controller.ended, "each gets its share");
        }
    }
}

#[test]
fn without_any_merge_inserts_stop_before_the_limit_and_go_on_with_the_merges() {
    let mut sim = Simulation::new(2, true, (30, 50));
    sim.run(60, 0.0);
    assert!(sim.most < 30, "{}", sim.most);
    sim.run(1800, 0.0);
    assert!(sim.most <= 40, "{} parts: it trickles to four fifths of what is refused", sim.most);
    let before = sim.inserts;
    sim.run(600, 0.0);
    assert_eq!(sim.inserts, before, "then nothing is sent at all");
    let now = sim.now();
    assert_eq!(sim.processes[0].controller.state(now), State::Throttled);
    sim.run(60, 50.0);
    let rate = sim.run(60, 50.0);
    assert!(FLOOD * 2.0 * 0.9 < rate, "{rate} rows/s once merges are back");
}

#[test]
fn throughput_survives_slow_merges_because_batches_grow() {
    let mut sim = Simulation::new(1, true, (300, 600));
    sim.run(120, 1.0);
    let before = sim.inserts;
    let rate = sim.run(120, 1.0);
    let inserts = (sim.inserts - before) as f64 / 120.0;
    assert!(
        FLOOD * 0.9 < rate,
        "{rate} rows/s in {inserts} inserts/s, where a merge a second is all there is"
    );
    assert!(inserts < 1.3 && sim.most < 300, "{inserts} inserts/s, {} parts", sim.most);
}

#[test]
fn the_number_of_parts_comes_to_rest() {
    let mut sim = Simulation::new(3, true, (300, 600));
    sim.run(300, 2.0);
    let mut seen = Vec::new();
    for _ in 0..60 {
        sim.run(5, 2.0);
        seen.push(sim.reading.parts);
    }
    let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(most - least <= 60, "between {least} and {most} of 300 parts: {seen:?}");
}

#[test]
fn a_table_at_ease_has_batches_as_configured() {
    let mut controller = Controller::new(&Config::default());
    let now = Instant::now();
    assert_eq!(controller.state(now), State::Unknown);
    let unknown = controller.limits(now);
    assert_eq!(unknown.inserts_per_second_max, Some(1.0), "what is unknown is not taken as fine");
    let reading = Reading { parts: 40, delay_at: 1000, refuse_at: 3000, ..Reading::default() };
    controller.read(reading, controller.asking(), now);
    assert_eq!(controller.state(now), State::Free);
    assert_eq!(controller.limits(now), Limits::of(&Config::default()));
    let later = now + Duration::from_secs(16);
    assert_eq!(controller.state(later), State::Unknown, "three intervals without a reading");
    assert!(matches!(controller.begin(later), Admission::Go(1)));
    assert!(matches!(controller.begin(later), Admission::Wait(_)));
}

#[test]
fn pressure_makes_batches_older_and_larger_and_fewer_step_by_step() {
    let now = Instant::now();
    let mut last = Limits::of(&Config::default());
    for parts in [500, 600, 700, 800, 850] {
        let mut controller = Controller::new(&Config::default());
        let reading = Reading { parts, delay_at: 1000, refuse_at: 3000, ..Reading::default() };
        controller.read(reading, controller.asking(), now);
        let limits = controller.limits(now);
        assert!(last.age_max <= limits.age_max && last.rows_max <= limits.rows_max, "{parts}: {limits:?}");
        assert!(limits.in_flight_max <= last.in_flight_max, "{parts}: {limits:?}");
        last = limits;
    }
    assert_eq!((last.age_max, last.rows_max), (Duration::from_secs(30), 1_000_000));
    assert_eq!(last.in_flight_max, 1);
    // The same by a replica that lags behind, which makes batches grow and never stops them.
    let mut controller = Controller::new(&Config::default());
    let reading = Reading { parts: 1, delay_at: 1000, refuse_at: 3000, strain: 7.0, ..Reading::default() };
    controller.read(reading, controller.asking(), now);
    assert_eq!((controller.limits(now), controller.state(now)), (last, State::Growing));
    // And it is forgotten slowly.
    controller.read(Reading { strain: 0.0, ..reading }, controller.asking(), now);
    let limits = controller.limits(now);
    assert!(Duration::from_secs(1) < limits.age_max && limits.age_max < last.age_max, "{limits:?}");
}

#[test]
fn a_server_without_memory_gets_smaller_batches_for_a_while() {
    let mut controller = Controller::new(&Config::default());
    let now = Instant::now();
    let reading = Reading { parts: 1, delay_at: 1000, refuse_at: 3000, ..Reading::default() };
    controller.read(reading, controller.asking(), now);
    let begin = |controller: &mut Controller| match controller.begin(now) {
        Admission::Go(number) => number,
        Admission::Wait(_) => panic!("there is room"),
    };
    let together: Vec<u64> = (0..4).map(|_| begin(&mut controller)).collect();
    for number in together {
        controller.end(number, Outcome::OutOfMemory);
    }
    let limits = controller.limits(now);
    assert_eq!((limits.rows_max, limits.bytes_max), (125_000, 16 << 20), "four failures at once are one");
    for _ in 0..20 {
        let number = begin(&mut controller);
        controller.end(number, Outcome::OutOfMemory);
    }
    assert_eq!(controller.limits(now).rows_max, 250_000 / 64);
    for _ in 0..60 {
        let number = begin(&mut controller);
        controller.end(number, Outcome::Written);
    }
    assert_eq!(controller.limits(now), Limits::of(&Config::default()));
}

#[test]
fn the_groups_budget_of_inserts_is_shared_by_its_members() {
    let config = Config {
        inserts_per_second_max: Some(2.0),
        pressure: Pressure { enabled: false, ..Pressure::default() },
        ..Config::default()
    };
    let mut controller = Controller::new(&config);
    controller.set_share(1, 4);
    let now = Instant::now();
    assert_eq!(controller.limits(now).inserts_per_second_max, Some(0.5));
    assert!(matches!(controller.begin(now), Admission::Go(1)));
    assert_eq!(controller.begin(now), Admission::Wait(now + Duration::from_secs(2)));
    assert!(matches!(controller.begin(now + Duration::from_secs(2)), Admission::Go(2)));
}

#[test]
fn a_table_without_parts_of_its_own_is_not_limited() {
    let mut controller = Controller::new(&config());
    let now = Instant::now();
    controller.read(Reading::default(), controller.asking(), now);
    for _ in 0..1000 {
        assert!(matches!(controller.begin(now), Admission::Go(_)));
    }
    assert_eq!(controller.limits(now), Limits::of(&config()));
}

#[test]
fn an_insert_refused_for_its_parts_shuts_the_window_until_the_next_reading() {
    let mut controller = Controller::new(&config());
    let now = Instant::now();
    let reading = Reading { parts: 1, delay_at: 1000, refuse_at: 3000, ..Reading::default() };
    controller.read(reading, controller.asking(), now);
    let Admission::Go(number) = controller.begin(now) else { panic!("there is room") };
    controller.end(number, Outcome::TooManyParts);
    assert!(matches!(controller.begin(now), Admission::Wait(_)) && controller.wants_reading());
    assert_eq!(controller.state(now), State::Throttled);
}

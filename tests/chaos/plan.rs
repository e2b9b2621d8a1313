//! What happens in a run, drawn from its seed: the shape of the scene and each lane's faults in order.
//!
//! It refuses to look at anything but the seed and the options, so that a seed means the same again. When things
//! happen is as exact as real processes allow; their order within a lane is exact.

use std::time::Duration;

use crate::catalogue::{Act, CATALOGUE, Fault, Lane, Needs};
use crate::options::{Engine, Mode, Options};

/// SplitMix64: short, and the same for ever, which no library promises of its generators.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, what: &str) -> Dice {
        let name = what.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut dice = Dice(seed ^ name);
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.next().is_multiple_of(chances)
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// The shape of a run.
#[derive(Clone, Debug)]
pub struct Layout {
    pub brokers: usize,
    pub partitions: i32,
    pub members: usize,
    /// Members come back under their names.
    pub static_names: bool,
    pub producers: usize,
    pub transactional: usize,
    /// Table partitions that a batch is spread over.
    pub table_partitions: u64,
    /// Blocks that the table remembers the tokens of.
    pub window: u64,
    pub rows_max: u64,
    /// Replicated tables: the majority of replicas confirms each insert.
    pub quorum: bool,
    /// Replicated tables: a view hangs on the table. Without one, rows are looked for where an attempt is unclear.
    pub view: bool,
}

impl Layout {
    pub fn draw(seed: u64, options: &Options) -> Layout {
        let mut dice = Dice::new(seed, "layout");
        let wants_three = options.faults.iter().any(|fault| fault.needs == Needs::ThreeBrokers);
        // Who is to give partitions back needs some to give.
        let mut replicated = Dice::new(seed, "replicated");
        let wants_many = options.faults.iter().any(|fault| fault.name.contains("revoke"));
        let drawn = if dice.one_in(4) || wants_three { 3 } else { 1 };
        Layout {
            brokers: options.brokers.unwrap_or(drawn),
            partitions: i32::try_from(dice.between(3, 6)).unwrap_or(3) * if wants_many { 3 } else { 1 },
            members: usize::try_from(dice.between(1, 3)).unwrap_or(1),
            // Whoever delivers exactly once must not return by name.
            static_names: dice.one_in(2) && options.mode == Mode::AtLeastOnce,
            producers: usize::try_from(dice.between(1, 3)).unwrap_or(1),
            transactional: usize::try_from(dice.between(1, 2)).unwrap_or(1),
            table_partitions: if dice.one_in(3) { dice.between(2, 4) } else { 1 },
            // Without a promise of exactly once the table is what most people have: it remembers no token.
            window: match (options.mode, options.engine) {
                (Mode::AtLeastOnce, Engine::Plain) => 0,
                _ => 3_000,
            },
            rows_max: dice.between(50, 2_000),
            quorum: replicated.one_in(2),
            view: replicated.one_in(2),
        }
    }
}

/// One fault to make.
#[derive(Clone, Debug)]
pub struct Step {
    pub fault: &'static Fault,
    /// From the end of the lane's fault before.
    pub gap: Duration,
    /// How long it lasts, where it lasts.
    pub hold: Duration,
    /// For whatever else is open about it.
    pub draw: u64,
}

/// The faults of one lane, without end.
pub struct Steps {
    dice: Dice,
    lane: Lane,
    faults: Vec<&'static Fault>,
    /// Dealt like cards, so that each comes before one comes again.
    deck: Vec<&'static Fault>,
    static_names: bool,
}

impl Steps {
    pub fn new(seed: u64, options: &Options, layout: &Layout, lane: Lane, index: usize) -> Steps {
        let wanted = |fault: &&Fault| {
            let chosen = options.faults.is_empty() || options.faults.iter().any(|one| one.name == fault.name);
            let brokers = fault.needs != Needs::ThreeBrokers || layout.brokers == 3;
            fault.lane == lane && chosen && brokers && options.fits(fault)
        };
        Steps {
            dice: Dice::new(seed, &format!("{lane:?}-{index}")),
            lane,
            faults: CATALOGUE.iter().filter(wanted).collect(),
            deck: Vec::new(),
            static_names: layout.static_names,
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    /// None when nothing is to be done in this lane.
    fn next(&mut self) -> Option<Step> {
        if self.deck.is_empty() {
            self.deck = self.faults.clone();
        }
        let count = u64::try_from(self.deck.len()).ok().filter(|count| *count != 0)?;
        let pick = usize::try_from(self.dice.between(0, count - 1)).ok()?;
        let fault = self.deck.swap_remove(pick);
        let (low, high) = match self.lane {
            // Who comes back under a new name waits for the old one's session to end.
            Lane::Member if self.static_names => (1_500, 6_000),
            Lane::Member => (4_000, 9_000),
            Lane::Server => (6_000, 12_000),
            Lane::Network => (200, 1_500),
            Lane::Broker => (8_000, 16_000),
            Lane::Operator => (2_000, 5_000),
        };
        let gap = self.dice.millis(low, high);
        let hold = match fault.act {
            // Longer than a session, with what the others need to take over.
            Act::MemberZombie | Act::FreezeAt(_) => self.dice.millis(7_500, 11_000),
            Act::NetworkHang | Act::ServerFreeze => self.dice.millis(500, 6_000),
            Act::BrokerFreeze => self.dice.millis(500, 5_000),
            _ => self.dice.millis(300, 3_000),
        };
        Some(Step { fault, gap, hold, draw: self.dice.next() })
    }
}

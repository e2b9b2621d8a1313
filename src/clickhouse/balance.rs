//! Which endpoint takes the next request.
//!
//! Refuses to know clients and clocks: it is a pure choice over a slice of loads, with the random
//! numbers handed in. An endpoint that may not be used is never chosen.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests are spread over the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The less busy of two chosen at random.
    #[default]
    LeastOutstanding,
    /// One after the other.
    RoundRobin,
    /// The first in the order of the configuration that works.
    FirstAlive,
}

/// What the choice sees of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub usable: bool,
    /// Requests waiting for an answer.
    pub outstanding: usize,
}

/// The index of the endpoint to use; none if no endpoint is usable. `turn` grows with every call.
pub fn pick(strategy: Strategy, loads: &[Load], turn: usize, rng: &mut impl Rng) -> Option<usize> {
    let usable: Vec<(usize, Load)> =
        loads.iter().copied().enumerate().filter(|(_, load)| load.usable).collect();
    let at = |i: usize| usable.get(i).copied();
    let chosen = match (strategy, usable.len()) {
        (_, 0) => None,
        (Strategy::FirstAlive, _) | (_, 1) => at(0),
        (Strategy::RoundRobin, n) => at(turn % n),
        (Strategy::LeastOutstanding, n) => {
            let first = rng.random_range(0..n);
            // Any other than the first, each as likely.
            let second = (first + rng.random_range(1..n)) % n;
            at(first).into_iter().chain(at(second)).min_by_key(|(_, load)| load.outstanding)
        }
    };
    chosen.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn loads(outstanding: &[Option<usize>]) -> Vec<Load> {
        outstanding.iter().map(|o| Load { usable: o.is_some(), outstanding: o.unwrap_or(0) }).collect()
    }

    #[test]
    fn unusable_endpoints_are_never_chosen() {
        let mut rng = StdRng::seed_from_u64(1);
        for strategy in [Strategy::LeastOutstanding, Strategy::RoundRobin, Strategy::FirstAlive] {
            assert_eq!(pick(strategy, &loads(&[]), 0, &mut rng), None);
            assert_eq!(pick(strategy, &loads(&[None, None]), 3, &mut rng), None);
            for turn in 0..100 {
                let chosen = pick(strategy, &loads(&[None, Some(9), None, Some(1)]), turn, &mut rng);
                assert!(matches!(chosen, Some(1 | 3)), "{strategy:?} {chosen:?}");
            }
        }
    }

    #[test]
    fn each_strategy_does_what_its_name_says() {
        let mut rng = StdRng::seed_from_u64(7);
        let three = loads(&[Some(5), Some(0), Some(9)]);
        let mut hits = [0; 3];
        for turn in 0..3000 {
            hits[pick(Strategy::LeastOutstanding, &three, turn, &mut rng).unwrap()] += 1;
        }
        assert_eq!(hits[2], 0, "the busiest always meets a less busy one");
        assert!(hits[1] > 1800 && hits[0] > 800, "{hits:?}");
        let round: Vec<_> = (0..4).filter_map(|t| pick(Strategy::RoundRobin, &three, t, &mut rng)).collect();
        assert_eq!(round, [0, 1, 2, 0]);
        assert_eq!(pick(Strategy::FirstAlive, &three, 5, &mut rng), Some(0));
    }
}

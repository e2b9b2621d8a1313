//! What pruning keeps: the newest of each hour, day, week, month and year, and everything that these need.
//!
//! Refuses to delete anything itself, and to say what may go while the newest backup of the policy is not verified. For
//! every history whatever it keeps can be restored afterwards, which is tested with random ones.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Serialize;

use super::config::Keep;
use super::entry::{Entries, Entry, State};
use crate::admin::migrate::script::sha256;

/// What becomes of the backups of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PrunePlan {
    pub policy: String,
    /// Newest first.
    pub kept: Vec<Kept>,
    /// In the order in which they are deleted: nothing before what builds on it.
    pub deleted: Vec<Going>,
    /// Why nothing may be deleted; empty if it may.
    pub refused: String,
    /// The same for the same plan.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    pub id: String,
    /// Every rule that keeps it.
    pub because: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Going {
    pub id: String,
    pub new_bytes: u64,
}

impl PrunePlan {
    pub fn is_empty(&self) -> bool {
        self.deleted.is_empty()
    }
}

/// Plans for one policy. Days and weeks are those of `zone`.
pub fn plan(entries: &Entries, policy: &str, keep: &Keep, zone: Tz, now: DateTime<Utc>) -> PrunePlan {
    let own: Vec<&Entry> =
        entries.0.iter().rev().filter(|entry| entry.manifest.policy == policy && entry.has_files()).collect();
    let mut why: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut because = |id, rule: String| why.entry(id).or_default().push(rule);
    let sound: Vec<&Entry> = own.iter().copied().filter(|entry| entries.chain(&entry.id).is_some()).collect();
    for tier in Tier::ALL {
        let mut last = None;
        let mut left = tier.count(keep);
        for entry in &sound {
            let bucket = tier.bucket(entry.at.with_timezone(&zone));
            if left > 0 && last.as_ref() != Some(&bucket) {
                because(&entry.id, tier.name().to_owned());
                left -= 1;
                last = Some(bucket);
            }
        }
    }
    for entry in sound.iter().take(usize::try_from(keep.min_count.max(1)).unwrap_or(usize::MAX)) {
        because(&entry.id, "min_count".to_owned());
    }
    if let Some(entry) = sound.iter().find(|entry| is_proven(entries, entry)) {
        because(&entry.id, "newest verified".to_owned());
    }
    for entry in &own {
        if entry.is_held(now) {
            because(&entry.id, "held".to_owned());
        }
        if entry.state == State::Running {
            because(&entry.id, "running".to_owned());
        }
        let age = (now - entry.at).to_std().unwrap_or_default();
        if entry.state == State::Done && age < keep.min_age.0 {
            because(&entry.id, "min_age".to_owned());
        }
    }
    let roots: Vec<&str> = why.keys().copied().collect();
    for id in roots {
        let mut base = entries.get(id).and_then(|entry| entry.manifest.base.as_deref());
        let mut steps = entries.0.len();
        while let Some(found) = base.and_then(|id| entries.get(id)).filter(|_| steps > 0) {
            why.entry(&found.id).or_default().push(format!("needed by {id}"));
            base = found.manifest.base.as_deref();
            steps -= 1;
        }
    }
    finish(entries, policy, &own, &why)
}

fn finish(entries: &Entries, policy: &str, own: &[&Entry], why: &BTreeMap<&str, Vec<String>>) -> PrunePlan {
    let kept = |entry: &&Entry| {
        let because = why.get(entry.id.as_str())?.clone();
        Some(Kept { id: entry.id.clone(), because })
    };
    let going = |entry: &&Entry| Going { id: entry.id.clone(), new_bytes: entry.manifest.new_bytes };
    let mut plan = PrunePlan {
        policy: policy.to_owned(),
        kept: own.iter().filter_map(kept).collect(),
        deleted: own.iter().filter(|entry| !why.contains_key(entry.id.as_str())).map(going).collect(),
        refused: String::new(),
        hash: String::new(),
    };
    let newest = own.iter().find(|entry| entry.state == State::Done);
    if newest.is_some_and(|entry| !is_proven(entries, entry)) && !plan.deleted.is_empty() {
        plan.refused = "the newest backup is not verified".to_owned();
    }
    let ids: Vec<&str> = plan.deleted.iter().map(|one| one.id.as_str()).collect();
    let hash = sha256(&format!("{policy}\n{}", ids.join("\n")));
    plan.hash = hash.get(..16).unwrap_or_default().to_owned();
    plan
}

/// Whether it was verified, and nothing of what it needs was found damaged.
fn is_proven(entries: &Entries, entry: &Entry) -> bool {
    entry.is_verified() && entries.chain(&entry.id).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Tier {
    const ALL: [Tier; 5] = [Tier::Hourly, Tier::Daily, Tier::Weekly, Tier::Monthly, Tier::Yearly];

    fn name(self) -> &'static str {
        match self {
            Tier::Hourly => "hourly",
            Tier::Daily => "daily",
            Tier::Weekly => "weekly",
            Tier::Monthly => "monthly",
            Tier::Yearly => "yearly",
        }
    }

    fn count(self, keep: &Keep) -> u32 {
        match self {
            Tier::Hourly => keep.hourly,
            Tier::Daily => keep.daily,
            Tier::Weekly => keep.weekly,
            Tier::Monthly => keep.monthly,
            Tier::Yearly => keep.yearly,
        }
    }

    /// The hour, day and so on that this moment lies in.
    fn bucket(self, at: DateTime<Tz>) -> (i32, u32, u32) {
        match self {
            // An hour that comes twice when clocks are put back is one.
            Tier::Hourly => (at.year(), at.ordinal(), at.hour()),
            Tier::Daily => (at.year(), at.ordinal(), 0),
            Tier::Weekly => (at.iso_week().year(), at.iso_week().week(), 0),
            Tier::Monthly => (at.year(), at.month(), 0),
            Tier::Yearly => (at.year(), 0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::admin::backup::entry::tests::{at, entry, verified};
    use crate::admin::backup::entry::{Hold, Wanted};
    use crate::units::Span;

    fn none() -> Keep {
        let min_age = Span::millis(0);
        Keep { hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, min_count: 1, min_age }
    }

    fn ids(plan: &PrunePlan) -> Vec<String> {
        plan.kept.iter().map(|one| one.id.clone()).collect()
    }

    /// One full backup every six hours, the first at midnight of 1 January 2026 in UTC, a Thursday.
    fn every_six_hours(count: i64) -> Entries {
        let one = |n: i64| entry(&format!("b{n:03}"), None, 6 * n);
        let mut all = Entries((0..count).map(one).collect());
        all.0.last_mut().unwrap().verification = verified(&[]);
        all
    }

    #[test]
    fn the_newest_of_each_calendar_bucket_stays() {
        let all = every_six_hours(160);
        let of = |keep: Keep, zone: Tz| ids(&plan(&all, "p", &keep, zone, at(960)));
        assert_eq!(of(Keep { daily: 3, ..none() }, Tz::UTC), ["b159", "b155", "b151"]);
        // 40 days end on 9 February, a Monday; its week began with b156.
        assert_eq!(of(Keep { weekly: 3, ..none() }, Tz::UTC), ["b159", "b155", "b127"]);
        assert_eq!(of(Keep { monthly: 5, ..none() }, Tz::UTC), ["b159", "b123"]);
        assert_eq!(of(Keep { yearly: 2, ..none() }, Tz::UTC), ["b159"]);
        // In Auckland, 13 hours ahead, a day's last one is that of 06:00 UTC, and b000 lies in January as well.
        assert_eq!(of(Keep { daily: 2, ..none() }, Tz::Pacific__Auckland), ["b159", "b157"]);
        assert_eq!(of(Keep { hourly: 2, ..none() }, Tz::UTC), ["b159", "b158"]);
        assert_eq!(of(Keep { min_age: Span::secs(3600 * 13), ..none() }, Tz::UTC), ["b159", "b158"]);
        assert_eq!(of(Keep { min_count: 3, ..none() }, Tz::UTC).len(), 3);
        let plan = plan(&all, "p", &none(), Tz::UTC, at(960));
        assert!(plan.deleted.len() == 159 && plan.refused.is_empty() && plan.hash.len() == 16);
        assert_eq!(plan.kept[0].because, ["min_count", "newest verified"]);
    }

    #[test]
    fn nothing_goes_while_the_newest_is_not_verified_and_what_is_held_stays() {
        let mut all = every_six_hours(10);
        all.0[9].verification = None;
        all.0[3].hold = Some(Hold { reason: "case".to_owned(), until: None });
        all.0[4].state = State::Failed;
        let unproven = plan(&all, "p", &none(), Tz::UTC, at(60));
        assert!(!unproven.refused.is_empty() && ids(&unproven) == ["b009", "b003"]);
        all.0[9].verification = verified(&["a file is gone"]);
        all.0[8].verification = verified(&[]);
        let damaged = plan(&all, "p", &none(), Tz::UTC, at(60));
        assert!(!damaged.refused.is_empty(), "the newest is damaged: {damaged:?}");
        assert_eq!(ids(&damaged), ["b008", "b003"]);
        assert!(damaged.deleted.iter().any(|one| one.id == "b004"), "what failed leaves files");
        assert!(plan(&all, "other", &none(), Tz::UTC, at(60)).is_empty());
    }

    /// What a history does.
    #[derive(Clone, Debug)]
    enum Step {
        Create { hours: i64, wanted: Wanted, fails: bool },
        Verify(usize, bool),
        Hold(usize, bool),
        Delete(usize),
        Prune(Keep),
    }

    fn step() -> impl Strategy<Value = Step> {
        let wanted =
            prop_oneof![3 => Just(Wanted::Auto), 1 => Just(Wanted::Full), 1 => Just(Wanted::Incremental)];
        let keep = (0u32..4, 0u32..4, 0u32..3, 0u32..3, 1u32..4, 0u64..100).prop_map(
            |(h, d, w, m, count, hours)| Keep {
                hourly: h,
                daily: d,
                weekly: w,
                monthly: m,
                yearly: 1,
                min_count: count,
                min_age: Span::secs(3600 * hours),
            },
        );
        prop_oneof![
            8 => (0i64..60, wanted, prop::bool::weighted(0.1)).prop_map(|(hours, wanted, fails)| Step::Create { hours, wanted, fails }),
            4 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(n, well)| Step::Verify(n, well)),
            1 => (any::<usize>(), any::<bool>()).prop_map(|(n, held)| Step::Hold(n, held)),
            2 => any::<usize>().prop_map(Step::Delete),
            3 => keep.prop_map(Step::Prune),
        ]
    }

    /// The backups whose files a store holds, as a restore sees it: the files of the whole chain must be there.
    fn restores(all: &Entries, store: &BTreeSet<String>, id: &str) -> bool {
        let (mut next, mut steps) = (Some(id.to_owned()), 0);
        while let Some(id) = next {
            let Some(entry) = all.get(&id).filter(|_| store.contains(&id) && steps <= all.0.len()) else {
                return false;
            };
            next = entry.manifest.base.clone();
            steps += 1;
        }
        true
    }

    fn delete(all: &mut Entries, store: &mut BTreeSet<String>, id: &str, now: DateTime<Utc>) -> bool {
        if all.blocked(id, now).is_some() {
            return false;
        }
        all.0.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.state = State::Deleted);
        store.remove(id);
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

        /// Whatever was created, verified, found damaged, held, deleted and pruned before: what is done and not deleted
        /// has its whole chain in the store, and pruning deletes everything that it planned, in its order.
        #[test]
        fn after_every_pruning_each_kept_backup_restores(steps in prop::collection::vec(step(), 1..60), chain_max in 0u32..5) {
            let (mut all, mut store, mut hours) = (Entries::default(), BTreeSet::new(), 0);
            for (n, step) in steps.into_iter().enumerate() {
                let pick = |all: &Entries, n: usize| (!all.0.is_empty()).then(|| n % all.0.len());
                match step {
                    Step::Create { hours: passed, wanted, fails } => {
                        hours += passed;
                        let mut one = entry(&format!("{n:03}"), None, hours);
                        let Ok(next) = all.next(wanted, &one.manifest, chain_max) else { continue };
                        prop_assert!(next.base.as_ref().is_none_or(|base| restores(&all, &store, base)));
                        one.manifest.base = next.base;
                        one.state = if fails { State::Failed } else { State::Done };
                        store.insert(one.id.clone());
                        all.0.push(one);
                    }
                    Step::Verify(n, well) => if let Some(n) = pick(&all, n).filter(|n| all.0[*n].state == State::Done) {
                        all.0[n].verification = verified(if well { &[] } else { &["damaged"] });
                    },
                    Step::Hold(n, held) => if let Some(n) = pick(&all, n) {
                        all.0[n].hold = held.then(|| Hold { reason: String::new(), until: None });
                    },
                    Step::Delete(n) => if let Some(n) = pick(&all, n) {
                        let id = all.0[n].id.clone();
                        delete(&mut all, &mut store, &id, at(hours));
                    },
                    Step::Prune(keep) => {
                        let plan = plan(&all, "p", &keep, Tz::UTC, at(hours));
                        let proven_before = all.0.iter().any(|entry| entry.state == State::Done && is_proven(&all, entry));
                        if plan.refused.is_empty() {
                            for going in &plan.deleted {
                                prop_assert!(delete(&mut all, &mut store, &going.id, at(hours)), "{}", going.id);
                            }
                        }
                        for kept in &plan.kept {
                            let entry = all.get(&kept.id).unwrap();
                            prop_assert!(entry.state != State::Done || restores(&all, &store, &kept.id), "{}", kept.id);
                        }
                        let proven = all.0.iter().any(|entry| entry.state == State::Done && is_proven(&all, entry));
                        prop_assert!(proven || !proven_before, "the last that is proven is gone");
                    }
                }
                for entry in all.0.iter().filter(|entry| entry.state == State::Done) {
                    prop_assert!(restores(&all, &store, &entry.id), "{}", entry.id);
                }
            }
        }
    }
}

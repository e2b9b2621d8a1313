//! How often each address tried a token in vain, within a window.
//!
//! Refuses to grow: beyond a number of addresses the one that tried longest ago is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const ADDRESSES_MAX: usize = 4096;

struct Tries {
    since: Instant,
    count: u32,
}

/// The table of failed tries.
pub struct Failures {
    tries: Mutex<HashMap<IpAddr, Tries>>,
    count_max: u32,
    window: Duration,
}

impl Failures {
    pub fn new(count_max: u32, window: Duration) -> Failures {
        Failures { tries: Mutex::default(), count_max, window }
    }

    /// How long the address has to wait, if it does.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = neighbourhood(address);
        let tries = self.tries.lock();
        let one = tries.get(&address).filter(|one| one.count >= self.count_max)?;
        self.window.checked_sub(now.saturating_duration_since(one.since)).filter(|left| !left.is_zero())
    }

    pub fn failed(&self, address: IpAddr, now: Instant) {
        let address = neighbourhood(address);
        let mut tries = self.tries.lock();
        let is_over = |one: &Tries| now.saturating_duration_since(one.since) >= self.window;
        if tries.len() >= ADDRESSES_MAX && !tries.contains_key(&address) {
            tries.retain(|_, one| !is_over(one));
            let oldest = tries.iter().min_by_key(|(_, one)| one.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| tries.len() >= ADDRESSES_MAX) {
                tries.remove(&oldest);
            }
        }
        let one = tries.entry(address).or_insert(Tries { since: now, count: 0 });
        if is_over(one) {
            *one = Tries { since: now, count: 0 };
        }
        one.count = one.count.saturating_add(1);
    }
}

/// What counts as one address: of IPv6 the first half, since whoever has one has all of that.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((address.to_bits() >> 64 << 64).to_be_bytes()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn after_so_many_failures_an_address_waits_for_the_rest_of_its_window() {
        let failures = Failures::new(3, Duration::from_secs(60));
        let (start, one, other) = (Instant::now(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let at = |s| start + Duration::from_secs(s);
        for s in 0..3 {
            assert_eq!(failures.wait(one, at(s)), None);
            failures.failed(one, at(s));
        }
        assert_eq!(failures.wait(one, at(20)), Some(Duration::from_secs(40)));
        assert_eq!((failures.wait(other, at(20)), failures.wait(one, at(60))), (None, None));
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 1..=3 {
            failures.failed(of(&format!("2001:db8:0:1::{n}")), at(20));
            failures.failed(of("::ffff:10.0.0.3"), at(20));
        }
        assert!(failures.wait(of("2001:db8:0:1:ffff::9"), at(20)).is_some());
        assert_eq!(failures.wait(of("2001:db8:0:2::1"), at(20)), None);
        assert!(failures.wait(of("10.0.0.3"), at(20)).is_some());
        failures.failed(one, at(61));
        assert_eq!(failures.wait(one, at(61)), None, "a new window counts anew");
    }

    #[test]
    fn the_table_is_bounded() {
        let failures = Failures::new(1, Duration::from_secs(60));
        let start = Instant::now();
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 100 {
            failures.failed(Ipv4Addr::from(n).into(), start + Duration::from_millis(u64::from(n)));
        }
        assert_eq!(failures.tries.lock().len(), ADDRESSES_MAX);
        let last = start + Duration::from_millis(5000);
        assert_eq!(failures.wait(Ipv4Addr::from(0).into(), last), None, "the oldest is forgotten");
        assert!(failures.wait(Ipv4Addr::from(4100).into(), last).is_some());
    }
}

//! The choice of a leader by a real broker, through the library: who leads, what is claimed, and who knows it.
//!
//! It refuses to know what claims mean.

use std::time::{Duration, Instant};

use penstock::kafka::Config;
use penstock::kafka::leader::{Candidate, Standing};

use crate::harness::{Servers, fresh_name, wait_for, wait_until};
use crate::scene::DEADLINE;

const SESSION: Duration = Duration::from_secs(3);

fn config() -> Config {
    let brokers = Servers::shared().kafka.brokers.split(',').map(str::to_owned).collect();
    Config { brokers, ..Config::default() }
}

fn leads(candidate: &Candidate) -> Option<(u64, String)> {
    match candidate.standing() {
        Standing::Leading { term, claims } => Some((term, claims)),
        _ => None,
    }
}

fn wait_leading(candidate: &Candidate) -> (u64, String) {
    wait_for(DEADLINE, "it leads", || leads(candidate))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_known_to_the_next_leader_and_nobody_else_can_make_any() {
    let (config, name) = (config(), fresh_name("leader"));
    let first = Candidate::start(&config, &name, SESSION).unwrap();
    let (term, claims) = wait_leading(&first);
    assert_eq!(claims, "", "nothing was claimed before");
    first.claim(term, "one".to_owned()).await.unwrap();
    assert_eq!(leads(&first), Some((term, "one".to_owned())));
    assert!(first.claim(term + 1, "another term".to_owned()).await.is_err());

    let second = Candidate::start(&config, &name, SESSION).unwrap();
    wait_until(DEADLINE, "another one follows", || second.standing() == Standing::Following);
    assert!(second.claim(1, "not by who follows".to_owned()).await.is_err());
    let (term, claims) = wait_leading(&first);
    assert_eq!(claims, "one", "who leads goes on when another one comes");
    let long = "x".repeat(penstock::kafka::leader::CLAIMS_BYTES_MAX);
    first.claim(term, long.clone()).await.unwrap();

    let begun = Instant::now();
    first.leave().await;
    assert!(first.claim(term, "after it has left".to_owned()).await.is_err());
    let (_, claims) = wait_leading(&second);
    eprintln!("leader: followed {:.2} s after it had left", begun.elapsed().as_secs_f64());
    assert!(claims == long && begun.elapsed() < SESSION, "{} bytes", claims.len());
    assert!(matches!(first.standing(), Standing::Outside(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_too_long_is_refused_and_leads_on() {
    let (config, name) = (config(), fresh_name("leader"));
    let candidate = Candidate::start(&config, &name, SESSION).unwrap();
    let (term, _) = wait_leading(&candidate);
    candidate.claim(term, "short".to_owned()).await.unwrap();
    let long = "x".repeat(2 * penstock::kafka::leader::CLAIMS_BYTES_MAX);
    assert!(candidate.claim(term, long).await.is_err());
    let (next, claims) =
        wait_for(DEADLINE, "another term", || leads(&candidate).filter(|(next, _)| *next > term));
    assert_eq!(claims, "short", "what was claimed before stands");
    candidate.claim(next, "again".to_owned()).await.unwrap();
    candidate.leave().await;
}

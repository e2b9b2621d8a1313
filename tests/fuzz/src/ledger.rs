//! Any text as the metadata of a commit.
//!
//! What must hold: no panic; an error tells a way out; what parses is written and parsed again to the same, names
//! ranges that follow each other from the committed offset on, and a plan begun from it commits the same.

use std::time::{Duration, Instant};

use penstock::delivery::ledger::{Intent, Read};
use penstock::delivery::plan::Terms;
use penstock::delivery::{Ledger, Lineage, Plan};
use penstock::record::{Offset, OffsetRange};

/// Bytes of the committed offset at the head of the input.
const OFFSET_BYTES: usize = 8;

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = (0..6).map(|intents| ledger(intents).encode());
    let foreign = ["", "consumer-7", "penstock/", "penstock/2 x"].map(str::to_owned);
    let input = |text: String| [100i64.to_le_bytes().as_slice(), text.as_bytes()].concat();
    texts.chain(foreign).map(input).collect()
}

fn ledger(intents: i64) -> Ledger {
    let intent = |n: i64| Intent {
        range: OffsetRange { first: Offset(100 + 7 * n), next: Offset(107 + 7 * n) },
        read: Read { records: 5, digest: u32::MAX },
    };
    Ledger {
        lineage: Lineage(0x0123_4567_89ab_cdef),
        fingerprint: 7,
        written_ms: 1_790_000_000_000,
        lease: Duration::from_secs(60),
        since_ms: 1_789_999_990_000,
        intents: (0..intents).map(intent).collect(),
    }
}

pub fn run(data: &[u8]) {
    let Some((offset, text)) = data.split_first_chunk::<OFFSET_BYTES>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let offset = Offset(i64::from_le_bytes(*offset));
    check(text, offset);
    // The engine does not guess checksums, so the text is also tried with the right one.
    if let Some((body, _)) = text.rsplit_once(' ') {
        check(&format!("{body} {:08x}", checksum(body)), offset);
    }
}

fn check(text: &str, offset: Offset) {
    let ledger = match Ledger::parse(text, offset) {
        Ok(Some(ledger)) => ledger,
        Ok(None) => return,
        Err(error) => return assert!(error.to_string().contains("\nhint: ")),
    };
    assert_eq!(Ledger::parse(&ledger.encode(), offset), Ok(Some(ledger.clone())));
    let mut first = offset;
    for intent in &ledger.intents {
        assert!(intent.range.first == first && first < intent.range.next);
        first = intent.range.next;
    }
    assert_eq!(ledger.end(offset), first);
    let terms = Terms { fingerprint: ledger.fingerprint, lease: ledger.lease, intents_max: 8 };
    let plan = Plan::begin(terms, Some(offset), Some(ledger.clone()), Lineage(1));
    let snapshot = plan.snapshot(Instant::now(), ledger.written_ms).expect("an offset is known");
    let since_ms =
        if ledger.intents.is_empty() { ledger.written_ms } else { ledger.since_ms.min(ledger.written_ms) };
    assert_eq!((snapshot.offset, snapshot.text), (offset, Ledger { since_ms, ..ledger }.encode()));
}

/// As in the ledger: FNV-1a, 32 bits.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

//! The judge: what was acknowledged against what is there, position by position.
//!
//! It refuses to be kind. An event that nobody can answer for is left out; of all others each is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::ClickHouse;
use crate::ledger::{Event, Fate, Id, Kind, Position};
use crate::options::Engine;
use crate::world::World;

#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged and committed, and neither a row nor a dead letter.
    pub missing: Vec<String>,
    /// More often in the table than it may be.
    pub doubled: Vec<String>,
    /// Where it must not be, or sums that differ.
    pub wrong: Vec<String>,
    pub events: usize,
    pub rows: u64,
    pub letters: usize,
}

type Rows = BTreeMap<Position, BTreeMap<(u32, u64), u64>>;

pub fn check(world: &World) -> Verdict {
    let mut verdict = Verdict::default();
    let events = world.ledger.events();
    let mut letters: BTreeSet<Id> = BTreeSet::new();
    for letter in world.kafka.read_all(&world.dead_topic()) {
        match letter.key.as_deref().and_then(Event::parse_key) {
            Some((id, _)) => drop(letters.insert(id)),
            None => verdict.wrong.push(format!("a dead letter of nobody at {}", letter.offset)),
        }
    }
    verdict.events = events.len();
    verdict.letters = letters.len();
    for server in &world.servers {
        if world.options.engine == Engine::Replicated {
            let tables = if world.has_view() { &["events", "totals"][..] } else { &["events"] };
            for table in tables {
                server.client().query(&format!("SYSTEM SYNC REPLICA {}.{table}", world.database));
            }
        }
        let rows = rows(server.client(), &world.database);
        verdict.rows = rows.values().flat_map(BTreeMap::values).sum();
        judge(world, &mut verdict, (&events, &letters), &rows);
        if world.has_view() {
            sums(world, server.client(), &mut verdict);
        }
    }
    verdict
}

fn rows(server: &ClickHouse, database: &str) -> Rows {
    let text = server.query(&format!(
        "SELECT incarnation, _partition, _offset, producer, number, count() FROM {database}.events \
         WHERE 0 <= _partition GROUP BY ALL FORMAT TSV"
    ));
    let mut rows = Rows::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let mut next = || fields.next().expect("six fields");
        let position = Position {
            incarnation: next().parse().expect("a number"),
            partition: next().parse().expect("a number"),
            offset: next().parse().expect("a number"),
        };
        let who = (next().parse().expect("a number"), next().parse().expect("a number"));
        let count: u64 = next().parse().expect("a number");
        *rows.entry(position).or_default().entry(who).or_default() += count;
    }
    rows
}

fn judge(
    world: &World,
    verdict: &mut Verdict,
    (events, letters): (&[(Event, Fate)], &BTreeSet<Id>),
    rows: &Rows,
) {
    let told = |event: &Event| format!("{:?} {:?}", event.position, event.kind);
    let mut known = BTreeMap::new();
    for (event, fate) in events {
        known.insert(event.position, event.id);
        let in_table = rows.contains_key(&event.position);
        let in_letters = letters.contains(&event.id);
        let skipped = world.ledger.is_skipped(event.position);
        match (fate, event.kind) {
            (Fate::Unknown, _) => {}
            (Fate::Aborted, _) if in_table || in_letters => {
                verdict.wrong.push(format!("{} was aborted and is there", told(event)));
            }
            (Fate::Aborted, _) => {}
            (Fate::Committed, Kind::Good) if in_letters => {
                verdict.wrong.push(format!("{} is a dead letter", told(event)));
            }
            (Fate::Committed, Kind::Bad | Kind::Poison) if in_table => {
                verdict.wrong.push(format!("{} has a row", told(event)));
            }
            (Fate::Committed, _) if !in_table && !in_letters && !skipped => verdict.missing.push(told(event)),
            (Fate::Committed, _) => {}
        }
    }
    for (position, who) in rows {
        let copies: u64 = who.values().sum();
        let may = world.ledger.copies_max(*position);
        if may < copies {
            verdict.doubled.push(format!("{position:?} is there {copies} times, {may} allowed"));
        }
        let stranger =
            |id: &&Id| who.keys().any(|(producer, number)| (id.producer, id.number) != (*producer, *number));
        if known.get(position).filter(stranger).is_some() {
            verdict.wrong.push(format!("{position:?} holds another event"));
        }
    }
}

/// What the view has summed up against the table, position by position. What a person had planned batches read
/// again, or left out, may have been cut off between table and view: nobody was there to send it again.
fn sums(world: &World, server: &ClickHouse, verdict: &mut Verdict) {
    let of = |what: &str, table: &str| {
        // Foreign blocks have no partition of Kafka's, and may have been cut off between table and view.
        let positions = "SELECT incarnation, _partition, _offset";
        let from = format!("FROM {}.{table} WHERE 0 <= _partition GROUP BY ALL", world.database);
        format!("{positions}, {what} {from}")
    };
    let (table, view) = (
        of("toInt64(count()) AS events, toInt64(sum(number)) AS sums", "events"),
        of("-toInt64(sum(totals.events)) AS events, -toInt64(sum(totals.sum)) AS sums", "totals"),
    );
    let text = server.query(&format!(
        "SELECT incarnation, _partition, _offset, sum(events), sum(sums) FROM ({table} UNION ALL {view}) \
         GROUP BY ALL HAVING sum(events) != 0 OR sum(sums) != 0 ORDER BY ALL FORMAT TSV"
    ));
    for line in text.lines() {
        let fields: Vec<i64> = line.split('\t').map(|field| field.parse().expect("a number")).collect();
        let [incarnation, partition, offset, surplus, _] = fields[..] else { panic!("five numbers: {line}") };
        let position = Position {
            incarnation: incarnation.try_into().expect("an incarnation"),
            partition: partition.try_into().expect("a partition"),
            offset,
        };
        if !world.ledger.is_moved(position) {
            verdict.wrong.push(format!("{position:?} is {surplus} times more in the table than in the view"));
        }
    }
}

/// Loses a row, doubles one and puts one where it must not be, by hand; whether the judge sees each of them.
pub fn self_test(world: &World, before: &Verdict) -> Result<(), String> {
    let server = world.servers[0].client();
    let table = format!("{}.events", world.database);
    let rows = rows(server, &world.database);
    let events = world.ledger.events();
    let once = |event: &&Event| rows.get(&event.position).is_some_and(|who| who.values().sum::<u64>() == 1);
    let good = events.iter().filter(|(event, fate)| *fate == Fate::Committed && event.kind == Kind::Good);
    let mut good = good.map(|(event, _)| event).filter(once);
    let (Some(lost), Some(doubled)) = (good.next(), good.next_back()) else {
        return Err("there are no two rows to try it with".to_owned());
    };
    let aborted = events.iter().find(|(_, fate)| *fate == Fate::Aborted).map(|(event, _)| event);
    let at = |p: Position| {
        format!("incarnation = {} AND _partition = {} AND _offset = {}", p.incarnation, p.partition, p.offset)
    };
    server.query(&format!(
        "ALTER TABLE {table} DELETE WHERE {} SETTINGS mutations_sync = 2",
        at(lost.position)
    ));
    server.query(&format!("INSERT INTO {table} SELECT * FROM {table} WHERE {}", at(doubled.position)));
    if let Some(event) = aborted {
        let Position { incarnation, partition, offset } = event.position;
        let Id { producer, number, .. } = event.id;
        server.query(&format!(
            "INSERT INTO {table} (incarnation, producer, number, text, _topic, _partition, _offset) \
             VALUES ({incarnation}, {producer}, {number}, '', '', {partition}, {offset})"
        ));
    }
    let after = check(world);
    let servers = world.servers.len();
    let seen = [
        ("missing", after.missing.len(), before.missing.len() + servers),
        ("doubled", after.doubled.len(), before.doubled.len() + servers),
    ];
    for (what, found, expected) in seen {
        if found != expected {
            return Err(format!("{found} {what} after one was made so by hand, {expected} expected"));
        }
    }
    let wrong = before.wrong.len() + if aborted.is_some() { servers } else { 0 };
    if after.wrong.len() < wrong {
        return Err(format!("{} wrong after one was made so by hand, {wrong} expected", after.wrong.len()));
    }
    Ok(())
}

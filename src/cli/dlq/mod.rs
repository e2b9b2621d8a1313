//! `penstock dlq`: its questions, and how letters are printed in lists.
//!
//! Refuses to find or send letters: that is `app::dlq`'s. One letter in full is `letters`'.

mod args;
mod letters;

use std::io::{IsTerminal as _, Write};

use serde_json::{Value, json};

pub use self::args::DlqArgs;
use self::args::{DlqCommand, Doing, StateArg, StateName, Which};
use self::letters::table;
use super::work::Call;
use super::{Exit, Failure};
use crate::app::dlq::form::{self, Show, moment_ms};
use crate::app::dlq::{
    Curtain, Filter, Group, Grouped, Letter, Offset, Options, Outcome, Part, Partition, Session, State,
};

impl Which {
    fn filter(&self, state: Option<&StateArg>) -> Result<Filter, Failure> {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let moment = |text: &Option<String>| {
            let parsed = text.as_deref().map(|text| moment_ms(text, now_ms)).transpose();
            parsed.map_err(|message| Failure::wrong_use(anyhow::anyhow!(message)))
        };
        Ok(Filter {
            topic: self.topic.clone(),
            table: self.table.clone(),
            reason: self.reason.clone(),
            path: self.path.clone(),
            since_ms: moment(&self.since)?,
            until_ms: moment(&self.until)?,
            partition: self.partition.map(Partition),
            offset: self.offset.map(Offset),
            state: state.and_then(|arg| arg.state).map(|name| match name {
                StateName::Waiting => State::Waiting,
                StateName::Replayed => State::Replayed,
            }),
        })
    }
}

impl Doing {
    /// Whether to go on with this many letters.
    fn is_agreed(&self, question: &str) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::wrong_use(anyhow::anyhow!(
                "nobody can be asked, since the standard input is no terminal\nhint: look with --dry-run first, then give --yes"
            )));
        }
        std::io::stderr().write_all(format!("{question} [y/N] ").as_bytes())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

pub fn run(args: &DlqArgs, mut call: Call<'_>) -> Result<Exit, Failure> {
    match &args.command {
        DlqCommand::List { which, state, limit } => list(&mut call, which, state, *limit)?,
        DlqCommand::Groups { which, state } => {
            let session = Session::open(&call.loaded, which.topic.as_deref())?;
            let grouped = session.groups(&which.filter(Some(state))?, u64::MAX)?;
            call.tell(&groups_text(&grouped), &form::groups(&grouped.groups, grouped.others))?;
        }
        DlqCommand::Show { position, origin, full, plain } => {
            let (mut letter, found) = if *origin {
                let session = Session::open(&call.loaded, Some(&position.source.topic))?;
                session.show_origin(position)?
            } else {
                (Session::open_at(&call.loaded, position)?.show(position)?, 1)
            };
            let hides = !*plain && Curtain::new(&call.loaded.config)?.draw(&mut letter);
            let mut text = letters::in_full(&letter, *full);
            if hides {
                text.push_str("\nFields that the table hides are not shown; --plain shows them.\n");
            }
            if 1 < found {
                text.push_str(&format!("\n{found} letters come from this record; this is the newest.\n"));
            }
            call.tell(&text, &form::letter(&letter, Show::Whole))?;
        }
        DlqCommand::Replay { which, doing, to, rate, limit, again } => {
            let options = Options {
                to: to.clone(),
                again: *again,
                records_per_second: *rate,
                limit: limit.unwrap_or(u64::MAX),
                ..Options::default()
            };
            replay(&mut call, which, doing, options)?;
        }
        DlqCommand::Purge { which, state, doing } => purge(&mut call, which, state, doing)?,
    }
    Ok(Exit::Done)
}

fn list(call: &mut Call<'_>, which: &Which, state: &StateArg, limit: u32) -> Result<(), Failure> {
    let filter = which.filter(Some(state))?;
    let session = Session::open(&call.loaded, which.topic.as_deref())?;
    let (mut all, found) = session.list(&filter, usize::try_from(limit).unwrap_or(usize::MAX))?;
    let head = ["REFUSED", "LETTER", "ORIGIN", "STATE", "ATTEMPT", "REASON", "PATH", "DETAIL"];
    Curtain::draw_over(&mut all, &call.loaded.config);
    let row = |letter: &Letter| {
        let origin = letter.origin.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let cells = [
            form::time(letter.refused_ms),
            letter.position.to_string(),
            origin,
            letters::state(letter.state).to_owned(),
            letter.attempt.to_string(),
            letter.reason.clone(),
            letter.path.clone(),
            letters::shortened(&letter.detail),
        ];
        cells.to_vec()
    };
    let mut text = table(&head, all.iter().map(row));
    let shown = all.len();
    text.push_str(&match found {
        0 => "no dead letters\n".to_owned(),
        _ if shown as u64 == found => format!("{found} letters\n"),
        _ => format!("the newest {shown} of {found} letters; see --limit\n"),
    });
    let list: Vec<Value> = all.iter().map(|letter| form::letter(letter, Show::Line)).collect();
    call.tell(&text, &json!({ "letters": list, "found": found }))
}

fn replay(call: &mut Call<'_>, which: &Which, doing: &Doing, options: Options) -> Result<(), Failure> {
    let filter = which.filter(None)?;
    let session = Session::open(&call.loaded, which.topic.as_deref())?;
    if !doing.yes {
        let plan = session.plan_replay(&filter, &options)?;
        let count: u64 = plan.groups.iter().map(|group| group.count).sum::<u64>() + plan.others;
        let to = options.to.as_deref().unwrap_or("the topics that they came from");
        if doing.dry_run {
            let text = format!("{}would be sent: {count} letters to {to}\n", groups_text(&plan));
            let mut value = form::groups(&plan.groups, plan.others);
            if let Value::Object(fields) = &mut value {
                fields.insert("would_send".to_owned(), json!(count));
            }
            return call.tell(&text, &value);
        }
        if !doing.is_agreed(&format!("{}Send {count} letters to {to}?", groups_text(&plan)))? {
            return call.tell("nothing was sent\n", &json!({ "sent": 0 }));
        }
    }
    let outcome = session.replay(&filter, options)?;
    let Outcome { sent, found, taken, too_large, without_origin, without_record } = outcome;
    let mut text = format!("{sent} letters sent\n");
    for (count, what) in [
        (found, "had been sent by a replay that was cut off; they are marked now"),
        (taken, "were left to another replay that runs at the same time"),
        (too_large, "are larger than their topic takes and stay; raise its max.message.bytes"),
        (without_origin, "do not say where they came from and stay"),
        (
            without_record,
            "hold a part of their record only, and the whole is no longer in its topic; they stay",
        ),
    ] {
        if 0 < count {
            text.push_str(&format!("{count} letters {what}\n"));
        }
    }
    call.tell(&text, &form::outcome(&outcome))
}

fn purge(call: &mut Call<'_>, which: &Which, state: &StateArg, doing: &Doing) -> Result<(), Failure> {
    let filter = which.filter(Some(state))?;
    let session = Session::open(&call.loaded, which.topic.as_deref())?;
    let parts = session.plan_purge(&filter)?;
    let sum = |count: fn(&Part) -> u64| parts.iter().map(count).sum::<u64>();
    let (deleted, settled, marked) =
        (sum(|p| p.deleted), sum(|p| p.deleted_settled), sum(|p| p.marked.len()));
    let row = |part: &Part| {
        let before = part.delete_before.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let counts = [part.deleted, part.deleted_settled, part.marked.len()].map(|n| n.to_string());
        [vec![part.source.to_string(), before], counts.to_vec()].concat()
    };
    let head = ["PARTITION", "BELOW OFFSET", "DELETED", "DELETED, SETTLED BEFORE", "ONLY MARKED"];
    let plan = table(&head, parts.iter().map(row));
    let value = |done: bool| form::purge(&parts, done);
    let sentence = format!(
        "{deleted} letters deleted, with {settled} that were replayed or purged before; {marked} only marked, since \
         letters before them stay\n"
    );
    if parts.is_empty() {
        return call.tell("no dead letters to purge\n", &value(false));
    }
    if doing.dry_run {
        return call.tell(&format!("{plan}would be done: {sentence}"), &value(false));
    }
    if !doing.is_agreed(&format!("{plan}Purge these {} letters?", deleted + marked))? {
        return call.tell("nothing was purged\n", &value(false));
    }
    session.purge(&parts)?;
    call.tell(&format!("{plan}{sentence}"), &value(true))
}

fn groups_text(grouped: &Grouped) -> String {
    let head = ["COUNT", "WAITING", "TOPIC", "TABLE", "REASON", "PATH", "FIRST", "LAST", "SAMPLE", "DETAIL"];
    let row = |group: &Group| {
        let signature = &group.signature;
        let cells = [
            group.count.to_string(),
            group.waiting.to_string(),
            signature.topic.clone(),
            signature.table.clone(),
            signature.reason.clone(),
            signature.path.clone(),
            form::time(group.first_ms),
            form::time(group.last_ms),
            group.sample.to_string(),
            letters::shortened(&signature.detail),
        ];
        cells.to_vec()
    };
    let mut text = table(&head, grouped.groups.iter().map(row));
    if 0 < grouped.others {
        text.push_str(&format!("{} letters of further kinds\n", grouped.others));
    }
    if grouped.groups.is_empty() {
        text.push_str("no dead letters\n");
    }
    text
}

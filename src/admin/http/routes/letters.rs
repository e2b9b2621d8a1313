//! The rows of dead letters.
//!
//! Refuses to know what a letter looks like.

use serde_json::Value;

use super::{Kind, LIMIT, Parameter, Route, job, look, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::letters;

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind: Kind::Text }
}

const TOPIC: Parameter = text("topic", "Source topic; those of all tables without it");
const TABLE: Parameter = text("table", "Table that they were meant for");
const REASON: Parameter = text("reason", "Reason code, such as out_of_range");
const PATH: Parameter = text("path", "Field, such as lines[2].price");
const SINCE: Parameter = text("since", "Refused at or after: RFC 3339, or a span back from now such as 2h");
const UNTIL: Parameter = text("until", "Refused before");
const PARTITION: Parameter = Parameter {
    name: "partition",
    about: "Partition of the source topic",
    kind: Kind::Number { min: 0, max: i32::MAX.unsigned_abs() },
};
const OFFSET: Parameter = Parameter {
    name: "offset",
    about: "Offset in the source topic",
    kind: Kind::Number { min: 0, max: u32::MAX },
};
const STATE: Parameter = Parameter {
    name: "state",
    about: "Only those in this state; both without it",
    kind: Kind::OneOf(&["waiting", "replayed"]),
};
const BODIES: Parameter = Parameter {
    name: "bodies",
    about: "true shows keys, values and headers, of at most 100 letters; needs dead_letter_value",
    kind: Kind::Flag,
};
const WHY: Parameter = text("why", "Why values are looked at; it stands in the audit trail");

pub const ROUTES: &[Route] = &[
    Route {
        about: "Dead letters by what is wrong with them, most frequent first",
        query: &[TOPIC, TABLE, REASON, PATH, SINCE, UNTIL, PARTITION, OFFSET, STATE, LIMIT],
        gives: shape::<Value>,
        ..look("/v1/dead-letters/groups", "dead_letter.groups", P::DeadLetterRead, |s, a| {
            Box::pin(letters::groups(s, a))
        })
    },
    Route {
        about: "The newest dead letters, newest last, without anything of their records unless bodies are asked for",
        query: &[TOPIC, TABLE, REASON, PATH, SINCE, UNTIL, PARTITION, OFFSET, STATE, LIMIT, BODIES, WHY],
        gives: shape::<Value>,
        ..look("/v1/dead-letters", "dead_letter.list", P::DeadLetterRead, |s, a| {
            Box::pin(letters::list(s, a))
        })
    },
    Route {
        about: "Publishes dead letters to the topic that they came from, each once",
        body: Some(shape::<letters::ReplayWanted>),
        gives: shape::<Value>,
        ..job("/v1/dead-letters/replay", "dead_letter.replay", P::DeadLetterReplay, |s, a| {
            Box::pin(letters::replay(s, a))
        })
    },
    Route {
        about: "Deletes dead letters where Kafka can, and marks the others as purged",
        body: Some(shape::<letters::PurgeWanted>),
        gives: shape::<Value>,
        ..job("/v1/dead-letters/purge", "dead_letter.purge", P::DeadLetterPurge, |s, a| {
            Box::pin(letters::purge(s, a))
        })
    },
];

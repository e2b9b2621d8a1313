//! Every kind of problem: how bad it is, what to do about it, and which runbook tells more.
//!
//! Refuses to know when there is one.

use super::summary::{Level, Problem, Severity};

/// What a kind of problem is: how bad, what to do, and where more stands.
pub struct Kind {
    severity: Severity,
    level: Level,
    what_to_do: &'static str,
    pub runbook: &'static str,
}

const fn kind(severity: Severity, level: Level, runbook: &'static str, what_to_do: &'static str) -> Kind {
    Kind { severity, level, what_to_do, runbook }
}

impl Kind {
    pub fn problem(&self, id: String, sentence: String) -> Problem {
        Problem {
            id,
            severity: self.severity,
            since: String::new(),
            sentence,
            what_to_do: self.what_to_do.to_owned(),
            runbook: (!self.runbook.is_empty()).then(|| self.runbook.to_owned()),
            link: None,
            level: self.level,
        }
    }
}

/// Parts of a process by how their names begin; the first that fits.
pub const COMPONENTS: &[(&str, &str, Kind)] = &[
    (
        "dead letters of ",
        "",
        kind(
            Severity::Critical,
            Level::Paused,
            "PenstockTopicPaused",
            "Look at the groups of its dead letters, and correct the producer or the table file; reading goes on by itself.",
        ),
    ),
    (
        "dead letters",
        "",
        kind(
            Severity::Critical,
            Level::Paused,
            "PenstockDeadLettersRefused",
            "Make the dead-letter topic, or let it take what is published to it; nothing passes until it does.",
        ),
    ),
    (
        "clickhouse ",
        "",
        kind(
            Severity::Warning,
            Level::Attention,
            "PenstockEndpointShut",
            "Look at that server; others are used meanwhile.",
        ),
    ),
    (
        "table ",
        ", parts",
        kind(
            Severity::Warning,
            Level::Attention,
            "PenstockPartsPressure",
            "Give merges time or room; batches adapt by themselves.",
        ),
    ),
    (
        "table ",
        "",
        kind(
            Severity::Critical,
            Level::Paused,
            "PenstockStalled",
            "See why ClickHouse refuses; the same batch is sent again until it is taken.",
        ),
    ),
    (
        "topic ",
        "",
        kind(
            Severity::Warning,
            Level::Attention,
            "PenstockTopicPaused",
            "It is read again by itself then; sooner with `penstock line resume`, or by cancelling the job of the pause.",
        ),
    ),
    (
        "partition ",
        "",
        kind(
            Severity::Critical,
            Level::Attention,
            "PenstockPartitionStuck",
            "Read the sentence, mend the cause, and restart the pod; the other partitions go on.",
        ),
    ),
    (
        "audit of ",
        "",
        kind(
            Severity::Critical,
            Level::Attention,
            "PenstockRowsMissing",
            "Compare with `penstock audit-rows`, which names the offsets.",
        ),
    ),
    (
        "configuration",
        "",
        kind(
            Severity::Warning,
            Level::Attention,
            "PenstockReloadRefused",
            "Correct the file; the line goes on with what it had.",
        ),
    ),
];

pub const OTHER: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockDegraded",
    "Read the sentence; /health of the pod has the whole.",
);
pub const SILENT: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockAbsent",
    "Look at the pod and its log; others take its partitions over.",
);
pub const LOOKUP: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockAbsent",
    "Check admin.console.lines and the name's addresses.",
);
pub const STUCK: Kind = kind(
    Severity::Critical,
    Level::Attention,
    "PenstockLoopStuck",
    "It is restarted when its liveness probe fails; if not, restart it.",
);
pub const MISSING: Kind = kind(
    Severity::Critical,
    Level::Failing,
    "PenstockRowsMissing",
    "Run `penstock audit-rows` for the offsets, then read them again before the topic forgets them.",
);
pub const SURPLUS: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockRowsSurplus",
    "See which batches were sent twice: `penstock audit-rows` names the offsets.",
);
pub const ALL_SHUT: Kind = kind(
    Severity::Critical,
    Level::Paused,
    "PenstockClickHouseDown",
    "Bring a server back; what is held is sent then, and nothing is lost.",
);
pub const UNOWNED: Kind = kind(
    Severity::Critical,
    Level::Paused,
    "PenstockTopicUnowned",
    "If it stays, look for a rebalance that does not end, or for another program in the group.",
);
pub const SKEW: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockConfigSkew",
    "Wait for the rollout to end, or reload the pods that stayed behind.",
);
pub const LATE: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockLagWillNotDrain",
    "If it does not get less, look at the slowest stage; more pods help up to the number of partitions.",
);
pub const LETTERS: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockDeadLettersMany",
    "Look at their groups; correct the producer or the table file, then replay them.",
);
pub const FULL: Kind = kind(
    Severity::Info,
    Level::Healthy,
    "PenstockMemoryBudgetFull",
    "Reading waits for inserts; a larger memory.budget or a faster ClickHouse helps.",
);
pub const CHECK: Kind = kind(Severity::Warning, Level::Attention, "PenstockHealthDegraded", "");
pub const BACKUP: Kind = kind(
    Severity::Warning,
    Level::Attention,
    "PenstockBackupUnverified",
    "Look at the runs of the backup's schedule, and verify the newest backup.",
);

//! The arguments of `penstock dlq`, with their help.
//!
//! Refuses to act on them.

use clap::{Args, Subcommand, ValueEnum};

use crate::app::dlq::Position;

const DLQ_EXAMPLES: &str = "\
Examples:
  penstock dlq groups
  penstock dlq list --topic clicks --since 2h --limit 20
  penstock dlq show clicks.dead/0@17
  penstock dlq replay --topic clicks --reason out_of_range --dry-run
  penstock dlq purge --topic clicks --until 2026-03-01T00:00:00Z --yes

Without --topic the dead-letter topics of all tables are read.";

const LIST_EXAMPLES: &str = "\
Examples:
  penstock dlq list
  penstock dlq list --topic clicks --reason missing_field --path user.id
  penstock dlq list --since 2026-03-14T09:00:00Z --until 2026-03-14T10:00:00Z --output json
  penstock dlq list --topic clicks --partition 3 --offset 77 --state waiting";

const GROUPS_EXAMPLES: &str = "\
Examples:
  penstock dlq groups --topic clicks --since 1d
  penstock dlq groups --state waiting --output json";

const SHOW_EXAMPLES: &str = "\
Examples:
  penstock dlq show clicks.dead/0@17
  penstock dlq show clicks.dead/0@17 --full --output json
  penstock dlq show clicks/3@77 --origin
  penstock dlq show clicks.dead/0@17 --plain";

const REPLAY_EXAMPLES: &str = "\
Examples:
  penstock dlq replay --topic clicks --dry-run
  penstock dlq replay --topic clicks --reason out_of_range --path price --rate 500
  penstock dlq replay --topic clicks --partition 3 --offset 77 --yes
  penstock dlq replay --topic clicks --to clicks-retry --limit 1000 --yes

Each letter goes to the partition that it came from, once: markers in the dead-letter topic remember what was
sent, so a replay that was cut off at any point is simply run again.";

const PURGE_EXAMPLES: &str = "\
Examples:
  penstock dlq purge --topic clicks --dry-run
  penstock dlq purge --topic clicks --state replayed --yes
  penstock dlq purge --reason invalid_json --until 30d --yes

Kafka deletes from a partition's begin only. What lies behind a letter that is still wanted is marked as purged
instead: no command shows it any more, and its bytes go with the topic's retention or a later purge.";

#[derive(Clone, Debug, Args)]
#[command(after_help = DLQ_EXAMPLES)]
pub struct DlqArgs {
    #[command(subcommand)]
    pub command: DlqCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DlqCommand {
    /// Lists dead letters, newest last
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        state: StateArg,
        /// Newest letters to list
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Counts dead letters by what is wrong with them, most frequent first
    #[command(after_help = GROUPS_EXAMPLES)]
    Groups {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        state: StateArg,
    },
    /// Shows one dead letter with everything that is in it
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Where the letter lies, as listed
        #[arg(value_name = "TOPIC/PARTITION@OFFSET")]
        position: Position,
        /// The position is that of the record in its source topic; the newest letter of it is shown
        #[arg(long)]
        origin: bool,
        /// Does not cut long values
        #[arg(long)]
        full: bool,
        /// Shows the fields too whose values the letter's table hides
        #[arg(long)]
        plain: bool,
    },
    /// Publishes dead letters to their topics again
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        doing: Doing,
        /// Topic to publish to, in place of each letter's own
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// Records per second at most
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// Letters to send at most
        #[arg(long)]
        limit: Option<u64>,
        /// Also those that were replayed before
        #[arg(long)]
        again: bool,
    },
    /// Deletes dead letters where Kafka can, and marks the others as purged
    #[command(after_help = PURGE_EXAMPLES)]
    Purge {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        state: StateArg,
        #[command(flatten)]
        doing: Doing,
    },
}

/// Which letters are meant.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// Source topic; those of all tables without it
    #[arg(long)]
    pub topic: Option<String>,
    /// Table that they were meant for
    #[arg(long)]
    pub table: Option<String>,
    /// Reason code, such as `out_of_range`
    #[arg(long)]
    pub reason: Option<String>,
    /// Field, such as `lines[2].price`
    #[arg(long)]
    pub path: Option<String>,
    /// Refused at or after: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Refused before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Partition of the source topic
    #[arg(long)]
    pub partition: Option<i32>,
    /// Offset in the source topic
    #[arg(long)]
    pub offset: Option<i64>,
}

#[derive(Clone, Debug, Args)]
pub struct StateArg {
    /// Only those in this state; waiting and replayed ones without it
    #[arg(long, value_enum)]
    pub state: Option<StateName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    Waiting,
    Replayed,
}

/// Whether it is done, and who is asked.
#[derive(Clone, Debug, Args)]
pub struct Doing {
    /// Says what would be done, and does nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
}

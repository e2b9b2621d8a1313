//! Every fault by its name: where it strikes, what it needs, and which crash points it reaches.
//!
//! It refuses to do anything. Names are stable, since results and replays are told by them.

use std::time::Duration;

use crate::proxy::Spoil;

/// Who does it. Faults of one lane follow each other; lanes run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// One for each penstock.
    Member,
    /// One for each ClickHouse.
    Server,
    /// One for each way to a ClickHouse.
    Network,
    Broker,
    /// What people do, and what befalls everything at once.
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// The place is only come to, or the promise only made, with exactly-once delivery.
    ExactlyOnce,
    ThreeBrokers,
    /// Commands that stop and start the keeper.
    KeeperCommands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    MemberKill,
    MemberRestart,
    /// Frozen for less than a session.
    MemberFreeze,
    /// Frozen for longer than a session.
    MemberZombie,
    /// Gone for a while in good order.
    MemberLeave,
    ClockJump,
    /// Dies at this place of the code.
    CrashAt(&'static str),
    /// Frozen at this place of the code for longer than a session.
    FreezeAt(&'static str),
    ServerKill,
    ServerFreeze,
    Insert(Spoil),
    NetworkHang,
    NetworkClosed,
    BrokerKill,
    BrokerFreeze,
    DiskFull,
    TooManyParts,
    AddColumn,
    PoisonRows,
    WindowOverrun,
    OffsetsReset,
    OffsetsForward,
    TopicRecreated,
    /// Records that the group is through with.
    RecordsDeleted,
    /// Some that it is not through with, as retention does to who is slow.
    RecordsDeletedAhead,
    MetadataGarbled,
    ViewThrows,
    KeeperStop,
}

#[derive(Debug)]
pub struct Fault {
    pub name: &'static str,
    pub lane: Lane,
    pub needs: Needs,
    pub act: Act,
}

const fn fault(name: &'static str, lane: Lane, needs: Needs, act: Act) -> Fault {
    Fault { name, lane, needs, act }
}

const fn member(name: &'static str, act: Act) -> Fault {
    fault(name, Lane::Member, Needs::Nothing, act)
}

const fn exact_member(name: &'static str, act: Act) -> Fault {
    fault(name, Lane::Member, Needs::ExactlyOnce, act)
}

const fn insert(name: &'static str, spoil: Spoil) -> Fault {
    fault(name, Lane::Network, Needs::Nothing, Act::Insert(spoil))
}

const fn operator(name: &'static str, act: Act) -> Fault {
    fault(name, Lane::Operator, Needs::Nothing, act)
}

pub const CATALOGUE: &[Fault] = &[
    member("member_kill", Act::MemberKill),
    member("member_restart", Act::MemberRestart),
    member("member_freeze", Act::MemberFreeze),
    member("member_zombie", Act::MemberZombie),
    member("member_leave", Act::MemberLeave),
    member("clock_jump", Act::ClockJump),
    member("crash_at_assigned", Act::CrashAt("assigned")),
    exact_member("crash_at_offsets_fetched", Act::CrashAt("offsets_fetched")),
    exact_member("crash_at_recommitted", Act::CrashAt("recommitted")),
    member("crash_at_sealed", Act::CrashAt("sealed")),
    exact_member("crash_at_intent_commit_sent", Act::CrashAt("intent_commit_sent")),
    exact_member("crash_at_intent_committed", Act::CrashAt("intent_committed")),
    member("crash_at_insert_started", Act::CrashAt("insert_started")),
    member("crash_at_insert_answered", Act::CrashAt("insert_answered")),
    member("crash_at_batch_settled", Act::CrashAt("batch_settled")),
    member("crash_at_closing_commit_sent", Act::CrashAt("closing_commit_sent")),
    member("crash_at_closing_committed", Act::CrashAt("closing_committed")),
    member("crash_at_dead_letter_sent", Act::CrashAt("dead_letter_sent")),
    member("crash_at_dead_letter_acked", Act::CrashAt("dead_letter_acked")),
    member("crash_at_revoke_begun", Act::CrashAt("revoke_begun")),
    member("crash_at_revoke_released", Act::CrashAt("revoke_released")),
    exact_member("crash_at_replan_committed", Act::CrashAt("replan_committed")),
    exact_member("crash_at_readback_done", Act::CrashAt("readback_done")),
    member("freeze_at_assigned", Act::FreezeAt("assigned")),
    exact_member("freeze_at_recommitted", Act::FreezeAt("recommitted")),
    member("freeze_at_sealed", Act::FreezeAt("sealed")),
    exact_member("freeze_at_intent_commit_sent", Act::FreezeAt("intent_commit_sent")),
    exact_member("freeze_at_intent_committed", Act::FreezeAt("intent_committed")),
    member("freeze_at_insert_started", Act::FreezeAt("insert_started")),
    member("freeze_at_insert_answered", Act::FreezeAt("insert_answered")),
    member("freeze_at_closing_commit_sent", Act::FreezeAt("closing_commit_sent")),
    fault("server_kill", Lane::Server, Needs::Nothing, Act::ServerKill),
    fault("server_freeze", Lane::Server, Needs::Nothing, Act::ServerFreeze),
    insert("insert_cut_upload", Spoil::CutUpload),
    insert("insert_half_close", Spoil::HalfClose),
    insert("insert_stall", Spoil::Stall(Duration::from_secs(35))),
    insert("insert_cut_after_request", Spoil::CutAfterRequest),
    insert("insert_cut_answer", Spoil::CutAnswer),
    insert("insert_truncated_answer", Spoil::TruncateAnswer),
    insert("insert_slow_answer", Spoil::SlowAnswer(Duration::from_millis(1_500))),
    insert("insert_answer_after_timeout", Spoil::SlowAnswer(Duration::from_millis(4_500))),
    insert("insert_late", Spoil::Late(Duration::from_millis(2_500))),
    insert("insert_very_late", Spoil::Late(Duration::from_secs(15))),
    insert("insert_error_memory", Spoil::Refuse(241)),
    insert("insert_error_too_many_queries", Spoil::Refuse(202)),
    insert("insert_error_too_many_parts", Spoil::Refuse(252)),
    insert("insert_error_read_only", Spoil::Refuse(242)),
    insert("insert_error_keeper", Spoil::Refuse(999)),
    insert("insert_error_unknown_number", Spoil::Refuse(64_999)),
    insert("insert_lost_answer_timeout", Spoil::LoseAnswer(159)),
    insert("insert_lost_answer_unknown_status", Spoil::LoseAnswer(319)),
    insert("insert_lost_answer_quorum", Spoil::LoseAnswer(286)),
    insert("insert_lost_answer_memory", Spoil::LoseAnswer(241)),
    insert("insert_ok_with_exception", Spoil::OkWithException(241)),
    fault("network_hang", Lane::Network, Needs::Nothing, Act::NetworkHang),
    fault("network_closed", Lane::Network, Needs::Nothing, Act::NetworkClosed),
    fault("broker_kill", Lane::Broker, Needs::Nothing, Act::BrokerKill),
    fault("broker_freeze", Lane::Broker, Needs::Nothing, Act::BrokerFreeze),
    fault("leader_change", Lane::Broker, Needs::ThreeBrokers, Act::BrokerKill),
    operator("disk_full", Act::DiskFull),
    operator("too_many_parts", Act::TooManyParts),
    operator("add_column", Act::AddColumn),
    operator("poison_rows", Act::PoisonRows),
    fault("window_overrun", Lane::Operator, Needs::ExactlyOnce, Act::WindowOverrun),
    operator("offsets_reset", Act::OffsetsReset),
    operator("offsets_forward", Act::OffsetsForward),
    operator("topic_recreated", Act::TopicRecreated),
    operator("records_deleted", Act::RecordsDeleted),
    operator("records_deleted_ahead", Act::RecordsDeletedAhead),
    operator("metadata_garbled", Act::MetadataGarbled),
    operator("view_throws", Act::ViewThrows),
    fault("keeper_stop", Lane::Operator, Needs::KeeperCommands, Act::KeeperStop),
];

pub fn find(name: &str) -> Option<&'static Fault> {
    CATALOGUE.iter().find(|fault| fault.name == name)
}

//! The rows of tokens, rights, the audit trail, and the description of the interface.
//!
//! Refuses to know what a token looks like.

use super::{Changes, LIMIT, Route, job, look, shape};
use crate::admin::audit::Verdict;
use crate::admin::command::Permission as P;
use crate::admin::http::routes::Answer;
use crate::admin::http::{audit, openapi, tokens};

pub const ROUTES: &[Route] = &[
    Route {
        about: "The last lines of the audit trail, oldest first",
        query: &[LIMIT],
        gives: shape::<audit::Lines>,
        ..look("/v1/audit", "audit.tail", P::AuditRead, |s, a| Box::pin(audit::tail(s, a)))
    },
    Route {
        about: "Reads the whole audit trail and says the first line that is wrong",
        changes: Changes::NothingForLong,
        gives: shape::<Verdict>,
        ..job("/v1/audit/verify", "audit.verify", P::AuditRead, |s, a| {
            Box::pin(async { audit::verify(s, a) })
        })
    },
    Route {
        about: "Whose token this is, and what it allows",
        gives: shape::<tokens::Myself>,
        ..look("/v1/self", "token.show", P::SelfRead, |_, a| Box::pin(async { tokens::myself(a) }))
    },
    Route {
        about: "Which role may do what",
        gives: shape::<tokens::Roles>,
        ..look("/v1/roles", "token.roles", P::SelfRead, |_, _| Box::pin(async { tokens::roles() }))
    },
    Route {
        about: "Makes a token",
        body: Some(shape::<tokens::Wanted>),
        changes: Changes::AtOnce,
        gives: shape::<tokens::Made>,
        ..job("/v1/tokens", "token.issue", P::TokenIssue, |s, a| Box::pin(tokens::issue(s, a)))
    },
    Route {
        about: "Makes a new token for whoever bears one that was issued here",
        changes: Changes::AtOnce,
        gives: shape::<tokens::Made>,
        ..job("/v1/tokens/refresh", "token.refresh", P::SelfRead, |s, a| Box::pin(tokens::refresh(s, a)))
    },
    Route {
        about: "Takes a token back before its end",
        body: Some(shape::<tokens::TakeBack>),
        changes: Changes::AtOnce,
        gives: shape::<tokens::Gone>,
        ..job("/v1/tokens/revoke", "token.revoke", P::TokenRevoke, |s, a| Box::pin(tokens::revoke(s, a)))
    },
    Route {
        about: "The tokens that were taken back and have not ended",
        gives: shape::<tokens::TakenBack>,
        ..look("/v1/tokens/revoked", "token.revoked", P::TokenRevoke, |s, a| Box::pin(tokens::revoked(s, a)))
    },
    Route {
        about: "This description",
        gives: shape::<openapi::Any>,
        ..look("/v1/openapi.json", "api.describe", P::SelfRead, |_, _| {
            Box::pin(async { Answer::new(openapi::description()) })
        })
    },
];

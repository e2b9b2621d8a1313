//! The rows of the key ring.
//!
//! Refuses to know what is encrypted.

use super::{Changes, Route, job, look, shape};
use crate::admin::command::Permission as P;
use crate::admin::crypt::{Rotated, Status};
use crate::admin::http::crypt::{self, Rotation};

pub const ROUTES: &[Route] = &[
    Route {
        about: "Which keys there are, without their bytes, and which secrets of the configuration need them",
        gives: shape::<Status>,
        ..look("/v1/crypt/status", "crypt.status", P::KeyRead, |s, _| Box::pin(crypt::status(s)))
    },
    Route {
        about: "Makes another key primary; the former one goes on opening",
        body: Some(shape::<Rotation>),
        changes: Changes::AtOnce,
        gives: shape::<Rotated>,
        ..job("/v1/crypt/rotate", "crypt.rotate", P::KeyChange, |s, a| Box::pin(crypt::rotate(s, a)))
    },
];

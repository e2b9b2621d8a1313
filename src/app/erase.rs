//! `penstock erase`: the rows of one subject, counted or deleted.
//!
//! Refuses to print. The work is `admin::erase`'s.

use super::Error;
use super::desk;
use super::lifecycle;
use crate::admin::command;
use crate::admin::erase::{self, Eraser};
use crate::config::{Inputs, Loaded};

pub use crate::admin::erase::{Erased, Request, Subject};

impl From<erase::Error> for Error {
    fn from(error: erase::Error) -> Self {
        use erase::Error as E;
        match error {
            E::Desk(error) => error.into(),
            E::Lifecycle(error) => error.into(),
            error @ (E::NoTable(_)
            | E::NoValue { .. }
            | E::Held { .. }
            | E::Command(command::Error::Forbidden { .. })) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

/// Counts the rows of the subject, and unless it is a dry run deletes them.
pub fn erase(
    (inputs, loaded): (&Inputs, &Loaded),
    endpoint: Option<String>,
    request: &Request,
    dry_run: bool,
) -> Result<Erased, Error> {
    let (lifecycles, runtime, bar) = lifecycle::open(inputs, loaded, endpoint)?;
    let eraser = Eraser::new(lifecycles);
    let work = async {
        match dry_run {
            true => eraser.count(&request.subject).await,
            false => eraser.erase(request).await,
        }
    };
    Ok(desk::wait(&runtime, &bar, work)?)
}

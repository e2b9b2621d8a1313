//! How a failed command is told: the error, its causes, and what to do about it last.
//!
//! Refuses to decide what failed. Hints are the lines of messages that begin with `hint: `.

use std::io::{self, ErrorKind, Write};

use super::Exit;

/// An error that ends the process, and the exit code that it ends with.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failure {
    /// Wrong usage, configuration or table file: exit code 2.
    pub fn wrong_use(error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: Exit::WrongUse, error: error.into() }
    }

    /// A server could not be reached: exit code 4.
    pub fn unreachable(error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: Exit::Unreachable, error: error.into() }
    }

    /// Another process migrates: exit code 7.
    pub fn locked(error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: Exit::Locked, error: error.into() }
    }

    /// Writes what happened, and gives the exit code. A reader that went away, as `head` does, is no
    /// failure.
    pub fn tell(self, err: &mut dyn Write) -> Exit {
        if self.is_closed_pipe() {
            return Exit::Done;
        }
        // Where the standard error is closed, the exit code still tells.
        let _ = err.write_all(self.text().as_bytes());
        self.exit
    }

    fn is_closed_pipe(&self) -> bool {
        let mut causes = self.error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        causes.any(|cause| cause.kind() == ErrorKind::BrokenPipe)
    }

    fn text(&self) -> String {
        let (mut text, mut hints) = (String::new(), String::new());
        let mut last = String::new();
        for (depth, cause) in self.error.chain().enumerate() {
            let message = cause.to_string();
            // Some messages already end with their cause's.
            if depth > 0 && last.contains(&message) {
                continue;
            }
            text.push_str(if depth == 0 { "error: " } else { "  caused by: " });
            let (hint_lines, lines): (Vec<_>, Vec<_>) =
                message.lines().partition(|line| line.starts_with("hint: "));
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            hint_lines.iter().for_each(|line| hints.push_str(&format!("{line}\n")));
            last = message;
        }
        text + &hints
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure { exit: Exit::Failed, error }
    }
}

/// Writing a result failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).context("the result cannot be written").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_in_order_and_hints_last() {
        let error = anyhow::anyhow!("the port is taken\nhint: take another")
            .context("cannot listen\nhint: set telemetry.listen");
        let mut err = Vec::new();
        assert_eq!(Failure::from(error).tell(&mut err), Exit::Failed);
        let expected = "error: cannot listen\n  caused by: the port is taken\n\
                        hint: set telemetry.listen\nhint: take another\n";
        assert_eq!(String::from_utf8(err).unwrap(), expected);
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        for (kind, exit) in [(ErrorKind::BrokenPipe, Exit::Done), (ErrorKind::StorageFull, Exit::Failed)] {
            let mut err = Vec::new();
            assert_eq!(Failure::from(io::Error::from(kind)).tell(&mut err), exit);
            assert_eq!(err.is_empty(), exit == Exit::Done);
        }
    }
}

//! `penstock token`: tokens out, tokens in.
//!
//! Refuses to take a token as an argument, where other users of the machine would see it: it comes from a file or the
//! standard input.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app;
use crate::app::token::{Role, Wanted};
use crate::units::{Secret, Span};

/// A token is shorter.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  penstock token issue --subject alice --role operator
  penstock token issue --subject bob --role operator --pii
  penstock token issue --subject ci --role data_admin --life 15m --output json
  penstock token verify --file token.txt
  penstock token refresh --file token.txt
  penstock token revoke --id 5f0c1a52-4a3e-4b8e-9a53-3b3c3a0f0b11 --reason \"laptop lost\"
  penstock token revoked
  penstock token permissions --role auditor

`verify` ends with exit code 3 when the token does not hold.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token, signed with admin.access.key_file
    Issue {
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// viewer, analyst, operator, data_admin, security_admin or auditor; may be repeated
        #[arg(long, required = true, value_name = "ROLE", value_parser = role)]
        role: Vec<Role>,
        /// It may see personal data, as far as its roles may: values of dead letters
        #[arg(long)]
        pii: bool,
        /// How long it holds; admin.access.token_life without it
        #[arg(long, value_name = "SPAN")]
        life: Option<Span>,
    },
    /// Tells whose token it is and what it allows, or why it does not hold
    Verify(Given),
    /// Makes a new token out of one that was issued here and still holds
    Refresh(Given),
    /// Takes a token back before its end: at once where it is asked for, elsewhere within admin.access.revoked_refresh
    Revoke {
        /// Its id, the claim jti; `verify` and `issue --output json` tell it
        #[arg(long, value_name = "ID")]
        id: String,
        /// When it ends anyway, as 2026-12-31T12:00:00Z; without it, when the longest token ends that is issued now
        #[arg(long, value_name = "TIME")]
        until: Option<chrono::DateTime<chrono::Utc>>,
        /// Why; it stands in the list
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Tells which tokens were taken back and have not ended
    Revoked,
    /// Tells which role may do what
    Permissions {
        /// Of this role alone
        #[arg(long, value_name = "ROLE", value_parser = role)]
        role: Option<Role>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Given {
    /// File with the token; the standard input without it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.map(Role::name).join(", ");
    Role::parse(text).ok_or_else(|| format!("there are {known}"))
}

impl Given {
    fn read(&self) -> Result<Secret, Failure> {
        let mut text = String::new();
        let read = match &self.file {
            Some(path) => std::fs::File::open(path)
                .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)),
            None => std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
        };
        read.map_err(|error| {
            Failure::wrong_use(
                anyhow::Error::new(error)
                    .context("the token cannot be read\nhint: give --file, or pipe it in"),
            )
        })?;
        Ok(Secret::new(text.trim()))
    }
}

impl Call<'_> {
    pub fn token(mut self, args: &TokenArgs) -> Result<Exit, Failure> {
        match &args.command {
            TokenCommand::Issue { subject, role, pii, life } => {
                let (subject, roles, pii) = (subject.clone(), role.clone(), *pii);
                let wanted = Wanted { subject, roles, pii, life: life.map(|life| life.0) };
                let issued = app::token::issue(&self.inputs, &self.loaded.config, wanted)?;
                self.made(&issued)
            }
            TokenCommand::Refresh(given) => {
                let issued = app::token::refresh(&self.inputs, &self.loaded.config, &given.read()?)?;
                self.made(&issued)
            }
            TokenCommand::Verify(given) => match app::token::verify(&self.loaded.config, &given.read()?)? {
                Ok(principal) => {
                    let roles: Vec<&str> = principal.roles.iter().map(|role| role.name()).collect();
                    let permissions: Vec<&str> =
                        principal.permissions().iter().map(|one| one.name()).collect();
                    let text = format!(
                        "{}, {}, until {}\nmay {}\n",
                        principal.subject,
                        roles.join(", "),
                        principal.ends,
                        permissions.join(", ")
                    );
                    self.tell(
                        &text,
                        &json!({ "valid": true, "principal": principal, "permissions": permissions }),
                    )?;
                    Ok(Exit::Done)
                }
                Err(error) => {
                    let text = error.to_string();
                    self.tell(&format!("{text}\n"), &json!({ "valid": false, "error": text }))?;
                    Ok(Exit::Differences)
                }
            },
            TokenCommand::Revoke { id, until, reason, dry_run } => {
                let wanted = app::token::TakeBack { id: id.clone(), until: *until, reason: reason.clone() };
                let until = app::token::revoke(&self.inputs, &self.loaded, wanted, *dry_run)?;
                let what = if *dry_run { "would be revoked" } else { "is revoked" };
                self.tell(&format!("{id} {what} until {until}\n"), &json!({ "id": id, "until": until }))?;
                Ok(Exit::Done)
            }
            TokenCommand::Revoked => {
                let all = app::token::revoked(&self.loaded)?;
                let line = |one: &app::token::Revoked| {
                    format!("{} until {}, by {} at {} {}\n", one.id, one.until, one.actor, one.at, one.reason)
                };
                self.tell(&all.iter().map(line).collect::<String>(), &json!({ "revoked": all }))?;
                Ok(Exit::Done)
            }
            TokenCommand::Permissions { role } => self.permissions(*role),
        }
    }

    fn made(&mut self, issued: &app::token::Issued) -> Result<Exit, Failure> {
        let token = issued.token.expose();
        self.tell(&format!("{token}\n"), &json!({ "token": token, "principal": issued.principal }))?;
        Ok(Exit::Done)
    }

    fn permissions(&mut self, only: Option<Role>) -> Result<Exit, Failure> {
        let (mut text, mut list) = (String::new(), Vec::new());
        for role in Role::ALL.into_iter().filter(|role| only.is_none_or(|only| only == *role)) {
            let names: Vec<&str> = role.permissions().iter().map(|one| one.name()).collect();
            text += &format!("{:<15} {}\n", role.name(), names.join(", "));
            list.push(json!({ "role": role, "permissions": names }));
        }
        self.tell(&text, &json!({ "roles": list }))?;
        Ok(Exit::Done)
    }
}

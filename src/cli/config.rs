//! `penstock config`: dump, schema and check.
//!
//! Refuses to reach any server, so that it can be used before there is one.

use std::io::Write;

use serde_json::json;

use super::args::{ConfigArgs, ConfigCommand, DumpFormat};
use super::{Exit, Failure, Global, Output, output};
use crate::config::{Error, Format, json_schema, load};

pub fn run(
    args: ConfigArgs,
    global: &Global,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let load = || load(&global.inputs(environment));
    match (args.command, global.output) {
        (ConfigCommand::Schema, _) => output::print_json(out, &json_schema())?,
        (ConfigCommand::Dump { format }, by_output) => {
            let format = match (format, by_output) {
                (Some(DumpFormat::Json), _) | (None, Output::Json) => Format::Json,
                _ => Format::Yaml,
            };
            output::print(out, &load().map_err(Failure::wrong_use)?.dump(format))?;
        }
        (ConfigCommand::Check, Output::Text) => {
            load().map_err(Failure::wrong_use)?;
            output::print(out, "the configuration is valid\n")?;
        }
        (ConfigCommand::Check, Output::Json) => {
            let faults = load().err().map(|Error { faults }| faults).unwrap_or_default();
            output::print_json(out, &json!({ "valid": faults.is_empty(), "faults": faults }))?;
            return Ok(if faults.is_empty() { Exit::Done } else { Exit::WrongUse });
        }
    }
    Ok(Exit::Done)
}

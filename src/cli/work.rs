//! The commands that do the work: run, check, schema, query, generate.
//!
//! Refuses to do it itself: each hands its arguments to `app` and prints what comes back.

use std::io::Write;

use serde_json::json;

use super::args::{
    CheckArgs, GenerateArgs, GenerateCommand, Progress, QueryArgs, RunArgs, SchemaArgs, SchemaCommand,
    TableArgs,
};
use super::{Exit, Failure, Global, Output, output};
use crate::app;
use crate::app::generate::{Options, Source};
use crate::config::{Inputs, Loaded, load};

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::WrongUse(error) => Failure::wrong_use(error),
            app::Error::Unreachable(error) => Failure::unreachable(error),
            app::Error::Locked(error) => Failure::locked(error),
            app::Error::Failed(error) => Failure::from(error),
        }
    }
}

/// What every one of these commands works with.
pub struct Call<'a> {
    pub inputs: Inputs,
    pub loaded: Loaded,
    pub output: Output,
    pub out: &'a mut dyn Write,
}

impl<'a> Call<'a> {
    pub fn new(
        global: &Global,
        environment: Vec<(String, String)>,
        out: &'a mut dyn Write,
    ) -> Result<Call<'a>, Failure> {
        let inputs = global.inputs(environment);
        let loaded = load(&inputs).map_err(Failure::wrong_use)?;
        Ok(Call { inputs, loaded, output: global.output, out })
    }

    /// Prints the value as JSON or the text, whichever was asked for.
    pub fn tell(&mut self, text: &str, value: &serde_json::Value) -> Result<(), Failure> {
        match self.output {
            Output::Text => output::print(self.out, text)?,
            Output::Json => output::print_json(self.out, value)?,
        }
        Ok(())
    }

    pub fn run(self, args: &RunArgs) -> Result<Exit, Failure> {
        let progress = match args.progress {
            Progress::Auto => None,
            Progress::Always => Some(true),
            Progress::Never => Some(false),
        };
        let options = app::run::Options { stop_at_end: args.stop_at_end, progress };
        let summary = app::run::run(&self.inputs, &self.loaded, options)?;
        Ok(if summary.drained { Exit::Done } else { Exit::NotDrained })
    }

    pub fn check(mut self, args: &CheckArgs) -> Result<Exit, Failure> {
        let all = app::tables::check(&self.loaded.config, &args.paths)?;
        let mut text = String::new();
        for one in &all {
            let verdict = if one.faults.is_empty() { "ok" } else { "wrong" };
            text.push_str(&format!("{}: {verdict}, {} examples\n", one.path.display(), one.examples));
            one.faults.iter().for_each(|fault| text.push_str(&format!("  {fault}\n")));
        }
        let list: Vec<_> = all
            .iter()
            .map(|c| json!({"path": c.path, "table": c.table, "examples": c.examples, "faults": c.faults}))
            .collect();
        self.tell(&text, &json!({ "tables": list }))?;
        Ok(if all.iter().all(|one| one.faults.is_empty()) { Exit::Done } else { Exit::Differences })
    }

    pub fn schema(mut self, args: &SchemaArgs) -> Result<Exit, Failure> {
        match &args.command {
            SchemaCommand::Format => {
                output::print_json(self.out, &crate::schema::table_file_schema())?;
                Ok(Exit::Done)
            }
            SchemaCommand::Ddl(tables) => self.ddl(tables),
            SchemaCommand::Diff(tables) => self.diff(tables),
            SchemaCommand::Plan { migration, tables } => {
                self.schema_plan(&tables.tables, migration.as_deref())
            }
            SchemaCommand::Create(TableArgs { tables }) => {
                let names = app::tables::create(&self.loaded.config, tables)?;
                self.tell(
                    &format!("created or there already: {}\n", names.join(", ")),
                    &json!({ "tables": names }),
                )?;
                Ok(Exit::Done)
            }
        }
    }

    fn ddl(&mut self, args: &TableArgs) -> Result<Exit, Failure> {
        let tables = app::tables::select(app::tables::load(&self.loaded.config)?, &args.tables)?;
        let all: Vec<_> =
            tables.iter().map(|t| (t.name.clone(), crate::schema::ddl::create_table(t, false))).collect();
        let text: String = all.iter().map(|(_, ddl)| format!("{ddl};\n\n")).collect();
        let list: Vec<_> = all.iter().map(|(name, ddl)| json!({"table": name, "ddl": ddl})).collect();
        self.tell(text.trim_end_matches('\n').to_owned().as_str(), &json!({ "tables": list }))?;
        if self.output == Output::Text {
            output::print(self.out, "\n")?;
        }
        Ok(Exit::Done)
    }

    fn diff(&mut self, args: &TableArgs) -> Result<Exit, Failure> {
        let all = app::tables::diff(&self.loaded.config, &args.tables)?;
        let (mut text, mut list) = (String::new(), Vec::new());
        for one in &all {
            let sentences: Vec<String> = match &one.differences {
                None => vec!["does not exist, or this user may not see it".to_owned()],
                Some(differences) => differences.iter().map(ToString::to_string).collect(),
            };
            let remedies: Vec<String> = one.differences.iter().flatten().filter_map(|d| d.remedy()).collect();
            let verdict = if one.blocks() { "cannot be filled" } else { "can be filled" };
            text.push_str(&format!("{}: {verdict}\n", one.table));
            sentences.iter().for_each(|s| text.push_str(&format!("  {s}\n")));
            remedies.iter().for_each(|r| text.push_str(&format!("    {r};\n")));
            list.push(json!({"table": one.table, "fillable": !one.blocks(), "differences": sentences, "remedies": remedies}));
        }
        self.tell(&text, &json!({ "tables": list }))?;
        let same = all.iter().all(|one| one.differences.as_ref().is_some_and(Vec::is_empty));
        Ok(if same { Exit::Done } else { Exit::Differences })
    }

    pub fn query(self, args: &QueryArgs) -> Result<Exit, Failure> {
        let by_output = match self.output {
            Output::Text => "PrettyCompactMonoBlock",
            Output::Json => "JSON",
        };
        let format = args.format.as_deref().unwrap_or(by_output);
        let bytes = app::query::query(&self.loaded.config, &args.sql, &args.param, format)?;
        self.out.write_all(&bytes)?;
        self.out.flush()?;
        Ok(Exit::Done)
    }

    pub fn generate(mut self, args: &GenerateArgs) -> Result<Exit, Failure> {
        let (source, common) = match &args.command {
            GenerateCommand::Clicks { count, seed, common } => {
                let start_ms = chrono::Utc::now().timestamp_millis();
                (Source::Clicks { count: *count, seed: *seed, start_ms }, common)
            }
            GenerateCommand::Flights { parquet, rows, common } => {
                (Source::Parquet { path: parquet.clone(), rows: *rows }, common)
            }
        };
        let default = match source {
            Source::Clicks { .. } => "clicks",
            Source::Parquet { .. } => "flights",
        };
        let options = Options {
            topic: common.topic.clone().unwrap_or_else(|| default.to_owned()),
            partitions: common.partitions,
            per_second: common.rate,
            compression: common.compression.clone(),
        };
        let (published, took) = app::generate::generate(&self.loaded.config, &source, &options)?;
        let text = format!("{}: {}\n", options.topic, app::generate::describe(&published, took));
        let value = json!({
            "topic": options.topic, "messages": published.messages, "bytes": published.bytes,
            "seconds": took.as_secs_f64(),
        });
        self.tell(&text, &value)?;
        Ok(Exit::Done)
    }
}

//! `penstock query`: one statement, its values beside it, its result as the server writes it.
//!
//! Refuses to interpret the statement.

use bytes::Bytes;
use serde_json::Value;

use super::{Error, connect, runtime};
use crate::config::Config;

/// Runs the statement and gives its result in the format named.
pub fn query(config: &Config, sql: &str, params: &[(String, String)], format: &str) -> Result<Bytes, Error> {
    let params: Vec<(&str, Value)> =
        params.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str()))).collect();
    runtime()?.block_on(async {
        let client = connect(config).await?;
        let reads = ["select", "with", "show", "describe", "desc", "explain", "exists"];
        if reads.contains(&first_word(sql).as_str()) {
            Ok(client.query_raw(sql, &params, format).await?)
        } else {
            client.execute(sql, &params).await?;
            Ok(Bytes::new())
        }
    })
}

/// The statement's first word in lower case, comments and parentheses before it left out.
fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        rest = match rest.strip_prefix("--").or(rest.strip_prefix('#')) {
            Some(line) => line.split_once('\n').map_or("", |(_, after)| after),
            None => match rest.strip_prefix("/*") {
                Some(block) => block.split_once("*/").map_or("", |(_, after)| after),
                None => break,
            },
        };
    }
    rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_do_not_hide_what_a_statement_is() {
        for sql in ["select 1", "  (SELECT 1)", "-- why\nSelect 1", "/* a */ /* b */\n# c\nSELECT(1)"] {
            assert_eq!(first_word(sql), "select", "{sql}");
        }
        assert_eq!(first_word("-- only a comment"), "");
    }
}

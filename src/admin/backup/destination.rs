//! Backups and their parts as they stand in statements.
//!
//! Refuses to paste: names and paths are quoted (I11), and credentials never stand in a statement.

use super::config::{Destination, Kind};
use super::manifest::{Cut, PlaceColumns};
use crate::admin::desk::TableName;
use crate::clickhouse::{quote_identifier, quote_string};

impl Destination {
    /// Whether the kind alone does not say where.
    pub fn needs_name(&self) -> bool {
        self.kind != Kind::File
    }

    /// The backup of this id, for `TO`, `FROM` and `base_backup`.
    pub fn sql(&self, id: &str) -> String {
        let path = quote_string(&match self.path.trim_end_matches('/') {
            "" => id.to_owned(),
            path => format!("{path}/{id}"),
        });
        match self.kind {
            Kind::File => format!("File({path})"),
            Kind::Disk => format!("Disk({}, {path})", quote_string(&self.name)),
            Kind::S3 => format!("S3({}, {path})", quote_identifier(&self.name)),
        }
    }
}

/// `TABLE d.t AS e.u PARTITIONS ID '1', ID '2'`.
pub fn element(table: &TableName, target: &TableName, partitions: &[String]) -> String {
    let renamed = if table == target { String::new() } else { format!(" AS {}", target.sql()) };
    let ids: Vec<String> = partitions.iter().map(|id| format!("ID {}", quote_string(id))).collect();
    let only = if ids.is_empty() { String::new() } else { format!(" PARTITIONS {}", ids.join(", ")) };
    format!("TABLE {}{renamed}{only}", table.sql())
}

/// Whether an id may be a part of a path: the catalogue and files beside backups are no place to name others.
pub fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty()
        && text.len() <= 200
        && text.chars().all(plain)
        && !text.contains("..")
        && !text.starts_with('.')
}

/// Whether a policy may be called so: ids begin with it.
pub fn is_name(text: &str) -> bool {
    is_id(text) && text.len() <= 100 && !text.contains('.')
}

/// The rows below the cut; `1` where all are meant.
pub fn below(place: Option<&PlaceColumns>, table: &str, cut: &[Cut]) -> String {
    let Some(place) = place else { return "1".to_owned() };
    let (partition, offset) = (quote_identifier(&place.partition), quote_identifier(&place.offset));
    let one = |cut: &Cut| {
        let own = place
            .topic
            .iter()
            .map(|topic| format!("{} = {} AND ", quote_identifier(topic), quote_string(&cut.topic)))
            .collect::<String>();
        format!("({own}{partition} = {} AND {offset} < {})", cut.partition, cut.offset)
    };
    let all: Vec<String> = cut.iter().filter(|cut| cut.table == table).map(one).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(" OR ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_elements_and_conditions_are_quoted() {
        let of =
            |kind, name: &str, path: &str| Destination { kind, name: name.to_owned(), path: path.to_owned() };
        assert_eq!(of(Kind::File, "", "").sql("a-1"), "File('a-1')");
        assert_eq!(of(Kind::File, "", "x'y/").sql("a"), "File('x\\'y/a')");
        assert_eq!(of(Kind::Disk, "cold", "p").sql("a"), "Disk('cold', 'p/a')");
        assert_eq!(of(Kind::S3, "bucket", "p/q").sql("a"), "S3(`bucket`, 'p/q/a')");
        let name =
            |database: &str, name: &str| TableName { database: database.to_owned(), name: name.to_owned() };
        let (one, other) = (name("d", "t"), name("d`", "u"));
        assert_eq!(element(&one, &one, &[]), "TABLE `d`.`t`");
        let ids = ["1".to_owned(), "a'".to_owned()];
        assert_eq!(element(&one, &other, &ids), "TABLE `d`.`t` AS `d\\``.`u` PARTITIONS ID '1', ID 'a\\''");
    }

    #[test]
    fn ids_name_no_other_place() {
        assert!(is_id("daily-20261127T120000Z-0a1b2c3d"));
        assert!(is_name("daily-2_x") && !is_name("a.b") && !is_name("a/b"));
        for wrong in ["", "a/b", "..", "a..b", ".backup", "a b", "a'b"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn rows_below_the_cut_are_those_of_each_partition_of_each_topic() {
        let cut = |topic: &str, partition| Cut {
            table: "t".to_owned(),
            topic: topic.to_owned(),
            partition,
            offset: 7,
        };
        let mut place = PlaceColumns { topic: None, partition: "p".to_owned(), offset: "o".to_owned() };
        let all = [cut("x", 0), cut("x", 1), Cut { table: "u".to_owned(), ..cut("y", 0) }];
        assert_eq!(below(Some(&place), "t", &all), "(`p` = 0 AND `o` < 7) OR (`p` = 1 AND `o` < 7)");
        place.topic = Some("w".to_owned());
        assert_eq!(below(Some(&place), "u", &all), "(`w` = 'y' AND `p` = 0 AND `o` < 7)");
        assert_eq!(
            (below(Some(&place), "v", &all), below(None, "t", &all)),
            ("0".to_owned(), "1".to_owned())
        );
    }
}

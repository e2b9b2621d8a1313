//! Tests of table files from text to model, with the files under `schemas/` as examples.

use std::path::Path;

use super::model::{Source, Type, UnknownFields};
use super::{Error, Table, load_dir, load_table, parse_table};

fn parse(text: &str) -> Result<Table, Error> {
    parse_table(text, Path::new("table.yaml"))
}

#[track_caller]
fn faults(text: &str) -> Vec<(String, String, String)> {
    let error = parse(text).expect_err(text);
    assert!(!error.faults().is_empty(), "{error}");
    let of = |fault: &&super::Fault| (fault.path.clone(), fault.message.clone(), fault.hint.clone());
    error.faults().iter().map(of).collect()
}

#[test]
fn every_example_table_loads_and_its_examples_name_known_reasons() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let tables = load_dir(&root).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["clicks", "flights", "orders"]);
    for table in &tables {
        let mut examples = (0, 0);
        for entry in std::fs::read_dir(root.join(&table.name).join("examples")).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.extension().unwrap() == "reason" {
                assert!(path.with_extension("json").is_file(), "{} has no record", path.display());
                continue;
            }
            if stem.starts_with("ok-") {
                examples.0 += 1;
                let value: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let violation = table
                    .residual
                    .as_ref()
                    .and_then(|residual| residual.validate(&value).err().map(|e| e.to_string()));
                assert_eq!(violation, None, "{}", path.display());
            } else {
                examples.1 += 1;
                let text = std::fs::read_to_string(path.with_extension("reason")).unwrap();
                let code = text.split_whitespace().next().unwrap();
                // The stable codes stand in `decode::reject`, which is above this module.
                assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            }
        }
        assert!(examples.0 >= 3 && examples.1 >= 5, "{}: {examples:?}", table.name);
    }
    let orders = &tables[2];
    assert!(orders.residual.is_some());
    assert!(
        matches!(orders.unknown_fields, UnknownFields::Keep { column } if orders.columns[column].source == Source::Rest)
    );
    let of_field = tables[0].columns.iter().filter(|column| matches!(column.source, Source::Path(_)));
    assert_eq!(of_field.count(), 13);
}

#[test]
fn ten_faults_are_reported_at_once_with_place_and_hint() {
    let text = r"
table: events
topics: events
colour: red
columns:
  - {name: id, type: UInt46}
  - {name: id, type: UInt64, min: 9, max: 3}
  - {name: name, type: String, min: 1}
  - {name: age, type: UInt8, default: 300}
  - {name: city, type: String, required: false}
  - {name: code, type: Int32, pattern: '^x$'}
  - {name: word, type: String, pattern: '('}
  - {name: kind, type: String, typ: x}
order_by: [tiem]
unknown_fields: {keep: rest}
";
    let found = faults(text);
    for (path, message, hint) in [
        ("topics", "expected array, found a text", "topics: [events]"),
        ("colour", "unknown key", "known keys"),
        ("columns[0].type", "UInt46", "write the type"),
        ("columns[1].min", "larger than max", "swap"),
        ("columns[2].min", "does not go with String", "length"),
        ("columns[3].default", "does not fit UInt8", "value of the column's type"),
        ("columns[4]", "may be absent", "Nullable(String)"),
        ("columns[5].pattern", "does not go with Int32", "String"),
        ("columns[6].pattern", "refused", "regular expression"),
        ("columns[7].typ", "unknown key", "`type`"),
        ("order_by[0]", "no column `tiem`", "name a column"),
        ("unknown_fields.keep", "no column `rest`", "JSON"),
    ] {
        let fits = |fault: &&(String, String, String)| {
            fault.0 == path && fault.1.contains(message) && fault.2.contains(hint)
        };
        assert!(found.iter().any(|fault| fits(&fault)), "{path}: {found:#?}");
    }
    assert_eq!(found.len(), 12, "one fault is reported once and none follows from another: {found:#?}");
}

#[test]
fn each_fault_is_found() {
    for (lines, path, message) in [
        ("columns: [{name: a, type: Int8, from: $offset}]", "columns[0].type", "cannot hold it"),
        ("columns: [{name: a, type: Int8, path: $offset}]", "columns[0].path", "metadata"),
        ("columns: [{name: a, type: Int8, path: x..y}]", "columns[0].path", "empty key"),
        ("columns: [{name: a, type: Int64, path: x, from: $offset}]", "columns[0]", "exclude"),
        ("columns: [{name: a, type: Int8}, {name: a, type: Int8, path: b}]", "columns", "twice"),
        ("columns: [{name: a, type: Int8}, {name: b, type: Int8, path: a}]", "columns", "the same field"),
        ("columns: [{name: a, type: JSON}, {name: b, type: Int8, path: a.b}]", "columns", "inside"),
        (
            "columns: [{name: n, type: 'Nested(a Int8)'}, {name: n.a, type: Array(Int8), path: b}]",
            "columns",
            "twice",
        ),
        ("columns: [{name: '', type: Int8}]", "columns[0].name", "empty"),
        ("columns: [{name: a, type: Int8}]\nsubject_columns: [b]", "subject_columns[0]", "no column `b`"),
        ("columns: [{name: a, type: JSON}]\nsubject_columns: [a]", "subject_columns[0]", "name nobody"),
        ("columns: [{name: a, type: Float64}]\nsubject_columns: [a]", "subject_columns[0]", "name nobody"),
        ("columns: [{name: a}]", "columns[0]", "`type` is missing"),
        ("columns: [{name: a, type: Int8, default: null}]", "columns[0].default", "null"),
        ("columns: [{name: a, type: Int8, default: 1, required: true}]", "columns[0].default", "no use"),
        ("columns: [{name: a, type: Int8, enum: [1, x]}]", "columns[0].enum[1]", "does not fit"),
        ("columns: [{name: a, type: Int8, coerce: [null_as_default]}]", "columns[0].coerce", "no default"),
        ("columns: [{name: a, type: Int8, coerce: [everything]}]", "columns[0].coerce", "not allowed"),
        ("columns: [{name: a, type: Int8, max: 128}]", "columns[0].max", "outside"),
        ("columns: [{name: a, type: UInt256, max: '1e5'}]", "columns[0].max", "plain decimal"),
        ("columns: [{name: a, type: UInt256, max: 36893488147419103232}]", "columns[0].max", "plain decimal"),
        ("columns: [{name: a, type: String, length: {min: 2, max: 1}}]", "columns[0].length", "larger"),
        ("columns: [{name: a, type: Int8, length: {min: 2}}]", "columns[0].length", "does not go with"),
        ("columns: [{name: a, type: UUID, format: uuid}]", "columns[0].format", "does not go with"),
        ("columns: [{name: a, type: Int8, past_max: 5d}]", "columns[0].past_max", "does not go with"),
        ("columns: [{name: a, type: DateTime, past_max: 5 weeks}]", "columns[0].past_max", "does not match"),
        ("columns: [{name: a, type: DateTime, max: 5}]", "columns[0].max", "does not go with"),
        ("columns: [{name: a, type: Int8, time_format: iso}]", "columns[0].time_format", "does not go with"),
        ("columns: [{name: a, type: Int64, from: $offset, min: 1}]", "columns[0]", "fields of the record"),
        (
            "columns: [{name: a, type: String}]\nunknown_fields: {keep: a}",
            "columns[0].type",
            "cannot hold it",
        ),
        ("columns: []", "columns", "no columns"),
        ("columns: [{name: a, type: Nullable(Int8)}]\norder_by: [a]", "order_by[0]", "can be NULL"),
        ("columns: [{name: a, type: Int8}]\npartition_by: f(b)", "partition_by", "no column `b`"),
        ("columns: [{name: a, type: Int8}]\ndatabase:", "database", "found nothing"),
        ("columns: [{name: a, type: Int8}]\nsettings: {'a b': 1}", "settings", "no setting's name"),
        ("columns: [{name: a, type: Int8}]\nengine: ''", "engine", "no table engine"),
        ("columns: {a: Int8}", "columns", "expected array"),
        ("columns: [a]", "columns[0]", "expected object"),
        ("json_schema: nowhere.json", "json_schema", "cannot read"),
    ] {
        let order = if lines.contains("order_by") { "" } else { "order_by: []\n" };
        let found = faults(&format!("table: t\ntopics: [t]\n{order}{lines}\n"));
        assert!(
            found.iter().any(|fault| fault.0 == path && fault.1.contains(message)),
            "{lines}: {found:#?}"
        );
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    }
    assert_eq!(faults("table: t\ntopics: ['a b']\ncolumns: [{name: a, type: Int8}]").len(), 2);
    assert_eq!(faults("[]").first().map(|fault| fault.0.as_str()), Some(""));
    assert!(matches!(parse("a: 1\na: 2"), Err(Error::Yaml { .. })));
}

#[test]
fn a_fault_reads_as_a_sentence_with_a_hint() {
    let error =
        parse("table: t\ntopics: [t]\ncolumns: [{name: a, type: Int9}]\norder_by: [a]\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "table.yaml has 1 fault\ncolumns[0].type: `Int9` is no type; did you mean `Int8`?, at character 1 of `Int9`\n\
         hint: write the type as ClickHouse does, such as `Nullable(DateTime64(3))`"
    );
    let schema = super::table_file_schema();
    assert_eq!(schema["required"], serde_json::json!(["table", "topics"]));
    assert!(schema["properties"]["columns"]["items"]["properties"]["past_max"]["pattern"].is_string());
}

#[test]
fn absence_is_a_default_or_null_or_a_rejection() {
    let text = r#"
table: t
topics: [t]
columns:
  - {name: a, type: Int8}
  - {name: b, type: Nullable(Int8)}
  - {name: c, type: Nullable(Int8), required: true}
  - {name: d, type: Int8, default: 5}
  - {name: e, type: Array(Int8)}
  - {name: f, type: UInt256, max: "115792089237316195423570985008687907853269984665640564039457584007913129639935"}
  - {name: g, type: Int8, path: [a, "b.c"]}
  - {name: h, type: Nullable(Int8), default: null}
order_by: []
"#;
    // `g` would stand inside of `a`, so it moves.
    let table = parse(&text.replace("[a, ", "[x, ")).unwrap();
    let of = |name: &str| table.columns.iter().find(|column| column.name == name).unwrap();
    let absent: Vec<(bool, bool)> =
        table.columns.iter().map(|column| (column.required, column.default.is_some())).collect();
    let (must, may, stands) = ((true, false), (false, false), (false, true));
    assert_eq!(absent, [must, may, must, stands, must, must, must, may]);
    assert_eq!(of("f").constraints.max.as_ref().map(String::len), Some(78));
    assert_eq!(of("g").source, Source::Path(vec!["x".to_owned(), "b.c".to_owned()]));
    assert_eq!(of("b").ty, Type::Nullable(Box::new("Int8".parse().unwrap())));
}

#[test]
fn files_are_bounded_and_folders_name_all_their_faults() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load_dir(folder.path()), Err(Error::NoTables { .. })));
    assert!(matches!(load_table(folder.path()), Err(Error::Read { .. })));
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("table.yaml"), "table: t\n").unwrap();
    }
    let error = load_dir(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Several(_)) && error.faults().len() == 6, "{error}");
    let good = "table: t\ntopics: [t]\ncolumns: [{name: a, type: Int8}]\norder_by: [a]\n";
    for name in ["a", "b"] {
        std::fs::write(folder.path().join(name).join("table.yaml"), good).unwrap();
    }
    let error = load_dir(folder.path()).unwrap_err();
    assert!(error.to_string().contains("described by"), "{error}");
    assert_eq!(load_dir(&folder.path().join("a")).unwrap().len(), 1);
    let large = format!("{good}#{}\n", "x".repeat(1 << 20));
    std::fs::write(folder.path().join("a/table.yaml"), large).unwrap();
    assert!(matches!(load_table(&folder.path().join("a/table.yaml")), Err(Error::TooLarge { .. })));
}

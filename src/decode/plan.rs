//! A table compiled for reading: a tree of objects whose leaves are columns.
//!
//! Refuses to know the table's engine and topics. Several columns may read one path, or one a part of
//! what another takes whole: the value is then read once for each.

use std::collections::HashMap;

use crate::columns::Columns;
use crate::schema::Table;
use crate::schema::model::{Column, Meta, Source, UnknownFields};

use super::Error;
use super::fault::{Fault, Result};
use super::fields::{Fields, Step};
use super::json::Cursor;
use super::leaf::Leaf;
use super::nested::{missing, unknown};
use super::reject::Reason;
use super::value::{Context, Kind, Unknown};

#[derive(Debug)]
pub struct Plan {
    pub root: Node,
    /// Columns filled from what Kafka knows.
    pub meta: Vec<(Meta, Leaf)>,
    /// The column that keeps unknown fields.
    pub rest: Option<usize>,
    pub unknown: Unknown,
}

/// An object that columns are read from.
#[derive(Debug)]
pub struct Node {
    fields: Fields,
    targets: Vec<Target>,
    /// A column takes this object whole, so nothing in it is unknown.
    covered: bool,
}

/// What is read from one field.
#[derive(Debug)]
struct Target {
    leaves: Vec<Leaf>,
    child: Option<Node>,
    /// `"name":{`, for unknown fields that are kept below this one.
    opening: String,
}

impl Plan {
    pub fn new(table: &Table) -> std::result::Result<Self, Error> {
        let mut paths = Vec::new();
        let mut meta = Vec::new();
        let mut rest = None;
        for (index, column) in table.columns.iter().enumerate() {
            match &column.source {
                Source::Path(path) if path.is_empty() => return Err(source(column, "its path is empty")),
                Source::Path(path) => paths.push((path.as_slice(), Leaf::new(index, column)?)),
                Source::Meta(what) => meta.push((*what, Leaf::new(index, column)?.for_meta(*what, column)?)),
                Source::Rest => rest = Some(Plan::rest_column(table, index, column)?),
            }
        }
        let unknown = match (&table.unknown_fields, rest) {
            (UnknownFields::Ignore, None) => Unknown::Ignore,
            (UnknownFields::Reject, None) => Unknown::Reject,
            (UnknownFields::Keep { column }, Some(rest)) if *column == rest => Unknown::Keep,
            (UnknownFields::Keep { .. }, _) | (_, Some(_)) => return Err(Error::Rest),
        };
        Ok(Plan { root: Node::new(paths, false), meta, rest, unknown })
    }

    fn rest_column(table: &Table, index: usize, column: &Column) -> std::result::Result<usize, Error> {
        let others = table.columns.iter().filter(|other| other.source == Source::Rest).count();
        let leaf = Leaf::new(index, column)?;
        match leaf.shape.kind {
            Kind::Json | Kind::String if others == 1 => Ok(index),
            _ => Err(Error::Rest),
        }
    }
}

pub fn source(column: &Column, problem: &'static str) -> Error {
    Error::Source { column: column.name.clone(), problem }
}

impl Node {
    fn new(paths: Vec<(&[String], Leaf)>, covered: bool) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut groups: Vec<Vec<(&[String], Leaf)>> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (path, leaf) in paths {
            let Some((name, tail)) = path.split_first() else { continue };
            let group = *known.entry(name.clone()).or_insert(groups.len());
            if group == groups.len() {
                names.push(name.clone());
                groups.push(Vec::new());
            }
            if let Some(group) = groups.get_mut(group) {
                group.push((tail, leaf));
            }
        }
        let targets =
            names.iter().zip(groups).map(|(name, group)| Target::new(name, group, covered)).collect();
        Node { fields: Fields::new(names), targets, covered }
    }

    pub fn forget_fast_ways(&mut self) {
        for target in &mut self.targets {
            target.leaves.iter_mut().for_each(Leaf::forget_fast_way);
            target.child.iter_mut().for_each(Node::forget_fast_ways);
        }
    }

    /// Reads the object at the cursor, which stands on its brace, into all columns below.
    pub fn read(&mut self, cursor: &mut Cursor<'_>, cx: &mut Context, columns: &mut Columns) -> Result {
        let mut walk = self.fields.open(cursor, &cx.keys)?;
        loop {
            match self.fields.next(&mut walk, cursor, &mut cx.keys)? {
                Step::Field(n) => {
                    let Some(target) = self.targets.get_mut(n) else { return Err(Fault::layout()) };
                    if let Err(fault) = target.read(cursor, cx, columns) {
                        return Err(fault.at_key(self.fields.name(n)));
                    }
                }
                Step::Unknown(start) => self.read_unknown(start, cursor, cx)?,
                Step::End => break,
            }
        }
        let mut from = 0;
        while let Some(n) = self.fields.first_missing(&walk, from) {
            self.absent_field(n, columns)?;
            from = n + 1;
        }
        Ok(())
    }

    fn read_unknown(&self, start: usize, cursor: &mut Cursor<'_>, cx: &mut Context) -> Result {
        if self.covered {
            return cursor.skip(None);
        }
        match cx.unknown {
            Unknown::Reject => Err(unknown(cx.keys.last())),
            Unknown::Ignore => {
                cx.ignored += 1;
                cursor.skip(None)
            }
            Unknown::Keep => {
                cursor.skip(Some(&mut cx.keys)).map_err(|fault| fault.at_key(&cursor.key_at(start)))?;
                cx.rest.push_str(cursor.since(start));
                cx.rest.push(',');
                Ok(())
            }
        }
    }

    fn absent_field(&self, field: usize, columns: &mut Columns) -> Result {
        let Some(target) = self.targets.get(field) else { return Err(Fault::layout()) };
        let mut result = target.leaves.iter().try_for_each(|leaf| leaf.absent(columns));
        if let (Ok(()), Some(child)) = (&result, &target.child) {
            result = child.absent(columns);
        }
        result.map_err(|fault| fault.at_key(self.fields.name(field)))
    }

    fn absent(&self, columns: &mut Columns) -> Result {
        (0..self.fields.len()).try_for_each(|field| self.absent_field(field, columns))
    }
}

impl Target {
    fn new(name: &str, group: Vec<(&[String], Leaf)>, covered: bool) -> Self {
        let (here, below): (Vec<_>, Vec<_>) = group.into_iter().partition(|(tail, _)| tail.is_empty());
        let leaves: Vec<Leaf> = here.into_iter().map(|(_, leaf)| leaf).collect();
        let covered = covered || !leaves.is_empty();
        let child = (!below.is_empty()).then(|| Node::new(below, covered));
        let quoted = serde_json::Value::from(name);
        Target { leaves, child, opening: format!("{quoted}:{{") }
    }

    #[inline]
    fn read(&mut self, cursor: &mut Cursor<'_>, cx: &mut Context, columns: &mut Columns) -> Result {
        if let ([leaf], None) = (self.leaves.as_mut_slice(), &self.child) {
            return leaf.read(cursor, cx, columns);
        }
        self.read_several(cursor, cx, columns)
    }

    fn read_several(&mut self, cursor: &mut Cursor<'_>, cx: &mut Context, columns: &mut Columns) -> Result {
        let start = cursor.mark();
        for leaf in &mut self.leaves {
            cursor.reset(start);
            leaf.read(cursor, cx, columns)?;
        }
        let Some(child) = &mut self.child else { return Ok(()) };
        cursor.reset(start);
        match cursor.peek() {
            b'{' if cx.unknown == Unknown::Keep && !child.covered => {
                let before = cx.rest.len();
                cx.rest.push_str(&self.opening);
                let opened = cx.rest.len();
                child.read(cursor, cx, columns)?;
                if cx.rest.len() == opened {
                    cx.rest.truncate(before);
                } else {
                    cx.rest.pop();
                    cx.rest.push_str("},");
                }
                Ok(())
            }
            b'{' => child.read(cursor, cx, columns),
            // An object that is null has none of its fields.
            b'n' => {
                cursor.literal("null")?;
                child.absent(columns)
            }
            _ => {
                cursor.skip(None)?;
                Err(Fault::new(Reason::WrongType, "expected an object, found another value"))
            }
        }
    }
}

impl Leaf {
    /// Fills the column of a field that the record does not have.
    pub fn absent(&self, columns: &mut Columns) -> Result {
        let to = columns.builder(self.column).ok_or_else(Fault::layout)?;
        match &self.default {
            Some(default) => {
                to.push_from(default, 0).map_err(|full| self.shape.fault(full.into(), "a default"))
            }
            None if self.required || !self.shape.nullable => Err(missing()),
            None => self.shape.push_null(to),
        }
    }
}

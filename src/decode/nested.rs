//! Values that hold values: arrays, maps, tuples and Nested.
//!
//! Refuses to know what the elements are. Every element's fault carries its index or its field's name.

use crate::columns::builder::{Builder, List};
use crate::schema::model::Field;

use super::fault::{Fault, Result};
use super::fields::{Fields, Step};
use super::json::{Cursor, keys};
use super::reject::Reason;
use super::value::{Context, Rules, Shape, Unknown};

/// The elements of a Tuple or the fields of a Nested.
#[derive(Debug)]
pub struct TupleShape {
    shapes: Vec<Shape>,
    /// By name; `None` if an element has none, and then only an array is taken.
    fields: Option<Fields>,
}

impl Shape {
    /// The array at the cursor; `self` is its element.
    pub(super) fn read_array(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        list: &mut List,
    ) -> Result {
        cursor.enter()?;
        let child = list.child_mut().ok_or_else(Fault::layout)?;
        let mut count = 0;
        while cursor.has_element(b']', count == 0)? {
            self.read(rules, cursor, cx, child).map_err(|fault| fault.at_index(count))?;
            count += 1;
        }
        list.close_row(count).map_err(|full| self.fault(full.into(), "an array"))
    }
}

/// The object at the cursor, as pairs.
pub(super) fn read_map(
    (key, value): (&mut Shape, &mut Shape),
    rules: Rules,
    cursor: &mut Cursor<'_>,
    cx: &mut Context,
    list: &mut List,
) -> Result {
    cursor.enter()?;
    let Some(Builder::Tuple(pairs)) = list.child_mut() else { return Err(Fault::layout()) };
    let [keys, values] = pairs.children_mut() else { return Err(Fault::layout()) };
    // JSON has no keys but strings, so a key may always be read from one.
    let mut key_rules = rules;
    key_rules.coercion.from_string = true;
    let mark = cx.keys.mark();
    let mut count = 0;
    while cursor.has_element(b'}', count == 0)? {
        if cursor.peek() != b'"' {
            return Err(cursor.invalid("a key"));
        }
        let name = cursor.string(&mut cx.scratch)?;
        cx.keys.add(name);
        key.push_text(name, key_rules, keys).map_err(|reason| key.fault(reason, "a key").at_index(count))?;
        cursor.take(b':')?;
        value.read(rules, cursor, cx, values).map_err(|fault| fault.at_index(count))?;
        count += 1;
    }
    cx.keys.close(mark).map_err(|_| keys::duplicate_within())?;
    list.close_row(count).map_err(|full| value.fault(full.into(), "a map"))
}

impl TupleShape {
    pub fn new(fields: &[Field]) -> Self {
        let names: Option<Vec<String>> = fields.iter().map(|field| field.name.clone()).collect();
        TupleShape {
            shapes: fields.iter().map(|field| Shape::new(&field.ty)).collect(),
            fields: names.map(Fields::new),
        }
    }

    /// An array of all elements in order, or an object of them by name, into one row of `children`.
    pub(super) fn read(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        children: &mut [Builder],
    ) -> Result {
        if cursor.peek() == b'{' {
            return self.read_object(rules, cursor, cx, children);
        }
        cursor.enter()?;
        let mut count = 0;
        while cursor.has_element(b']', count == 0)? {
            let (Some(shape), Some(child)) = (self.shapes.get_mut(count), children.get_mut(count)) else {
                return Err(self.length_fault());
            };
            shape.read(rules, cursor, cx, child).map_err(|fault| fault.at_index(count))?;
            count += 1;
        }
        if count < self.shapes.len() { Err(self.length_fault()) } else { Ok(()) }
    }

    fn read_object(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        children: &mut [Builder],
    ) -> Result {
        let Some(fields) = &mut self.fields else {
            return Err(Fault::new(
                Reason::WrongType,
                "expected an array for a tuple without names, found an object",
            ));
        };
        let mut walk = fields.open(cursor, &cx.keys)?;
        loop {
            match fields.next(&mut walk, cursor, &mut cx.keys)? {
                Step::Field(n) => {
                    let (Some(shape), Some(child)) = (self.shapes.get_mut(n), children.get_mut(n)) else {
                        return Err(Fault::layout());
                    };
                    shape.read(rules, cursor, cx, child).map_err(|fault| fault.at_key(fields.name(n)))?;
                }
                // Inside an element there is no column to keep it in, so keeping refuses it too.
                Step::Unknown(_) if cx.unknown != Unknown::Ignore => return Err(unknown(cx.keys.last())),
                Step::Unknown(_) => {
                    cx.ignored += 1;
                    cursor.skip(None)?;
                }
                Step::End => break,
            }
        }
        let mut from = 0;
        while let Some(n) = fields.first_missing(&walk, from) {
            let (Some(shape), Some(child)) = (self.shapes.get(n), children.get_mut(n)) else {
                return Err(Fault::layout());
            };
            if !shape.nullable {
                return Err(missing().at_key(fields.name(n)));
            }
            shape.push_null(child)?;
            from = n + 1;
        }
        Ok(())
    }

    /// An array of objects into a column of type Nested.
    pub(super) fn read_nested(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        list: &mut List,
    ) -> Result {
        cursor.enter()?;
        let mut count = 0;
        while cursor.has_element(b']', count == 0)? {
            let read = match cursor.peek() {
                b'{' => self.read_object(rules, cursor, cx, list.children_mut()),
                _ => Err(cursor.skip(None).err().unwrap_or_else(not_an_object)),
            };
            read.map_err(|fault| fault.at_index(count))?;
            count += 1;
        }
        list.close_row(count).map_err(|_| Fault::new(Reason::TooLarge, "an array finds no room in the batch"))
    }

    #[cold]
    fn length_fault(&self) -> Fault {
        let detail = format!("expected exactly {} elements", self.shapes.len());
        Fault::new(Reason::BadLength, detail)
    }
}

#[cold]
pub(super) fn not_an_object() -> Fault {
    Fault::new(Reason::WrongType, "expected an object, found something else")
}

#[cold]
pub(super) fn missing() -> Fault {
    Fault::new(Reason::MissingField, "the field is required and absent")
}

#[cold]
pub(super) fn unknown(key: &str) -> Fault {
    Fault::new(Reason::UnknownField, "no column takes this field").at_key(key)
}

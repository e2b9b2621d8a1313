//! The usual form of a value, taken straight from the text into its column.
//!
//! Refuses whatever needs a second look: then neither the place in the text nor the column has changed, and
//! the general way ([`super::value`]) reads the value and finds the fault. What is taken here is what the
//! general way takes, to the bit; a property test compares the two.

mod number;
mod text;

use crate::columns::builder::Builder;
use crate::schema::model::TimeFormat;

use super::check::Checks;
use super::json::Cursor;
use super::value::{Kind, Rules, Shape};

use number::{Decimals, Floats, Integers};
use text::{Names, Texts, Times};

#[derive(Debug)]
pub struct Fast {
    form: Form,
    nullable: bool,
    /// Whether the column's rules are tested here too.
    tested: Tested,
}

/// Whether a value that was taken is known to keep the column's rules.
#[derive(Clone, Copy, Debug)]
pub enum Tested {
    Yes,
    No,
}

#[derive(Debug)]
enum Form {
    Text(Texts),
    Integer(Integers),
    Float(Floats),
    Decimal(Decimals),
    Time(Times),
    Enum(Names),
    Uuid,
    Ipv4,
    Bool,
}

impl Fast {
    /// `None` for types that only the general way reads.
    pub fn new(shape: &Shape, rules: Rules, column: &Builder, checks: Option<&Checks>) -> Option<Self> {
        let (form, tested) = match &shape.kind {
            Kind::String => with(Texts::new(checks), Form::Text),
            Kind::Int => with(Integers::new(column, checks)?, Form::Integer),
            Kind::Float64 => with(Floats::new(checks), Form::Float),
            Kind::Decimal { precision, scale } if *precision <= 18 => {
                (Form::Decimal(Decimals::new(*precision, *scale)), checks.is_none())
            }
            Kind::Time(time) if rules.time_format == TimeFormat::Iso => {
                with(Times::new(*time, checks)?, Form::Time)
            }
            Kind::Enum(names) => (Form::Enum(Names::new(names)?), checks.is_none()),
            Kind::Uuid => (Form::Uuid, checks.is_none()),
            Kind::Ipv4 => (Form::Ipv4, checks.is_none()),
            Kind::Bool => (Form::Bool, checks.is_none()),
            _ => return None,
        };
        Some(Fast { form, nullable: shape.nullable, tested: if tested { Tested::Yes } else { Tested::No } })
    }

    /// Takes the value at the cursor; `None` leaves everything as it is.
    #[inline]
    pub fn read(&mut self, cursor: &mut Cursor<'_>, to: &mut Builder, reference_ms: i64) -> Option<Tested> {
        if cursor.byte() <= b' ' {
            cursor.peek();
        }
        let text = cursor.rest();
        let taken = match (&mut self.form, &mut *to) {
            (Form::Text(form), Builder::Text(to)) => form.read(cursor, to),
            (Form::Integer(form), to) => form.read(text, to),
            (Form::Float(form), Builder::F64(to)) => form.read(text).map(|(value, bytes)| {
                to.push(value);
                bytes
            }),
            (Form::Decimal(form), to) => form.read(text, to),
            (Form::Time(form), to) => form.read(text, reference_ms, to),
            (Form::Enum(form), to) => form.read(text, to),
            (Form::Uuid, Builder::Bytes(to)) => text::uuid(text, to),
            (Form::Ipv4, Builder::U32(to)) => text::ipv4(text).map(|(value, bytes)| {
                to.push(value);
                bytes
            }),
            (Form::Bool, Builder::U8(to)) => text::boolean(text).map(|(value, bytes)| {
                to.push(value);
                bytes
            }),
            _ => None,
        };
        match taken {
            Some(bytes) => {
                cursor.advance(bytes);
                Some(self.tested)
            }
            None => (self.nullable && take_null(cursor, to)).then_some(Tested::Yes),
        }
    }
}

fn with<T>((form, tested): (T, bool), wrap: impl Fn(T) -> Form) -> (Form, bool) {
    (wrap(form), tested)
}

#[inline]
fn take_null(cursor: &mut Cursor<'_>, to: &mut Builder) -> bool {
    let taken = cursor.rest().starts_with(b"null") && to.push_null().is_ok();
    if taken {
        cursor.advance(4);
    }
    taken
}

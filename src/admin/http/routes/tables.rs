//! The rows of table care.
//!
//! Refuses to know how it is done: `http::tables` does.

use super::{Changes, ENDPOINT, Kind, Parameter, Route, TABLES, job, look_once, shape};
use crate::admin::care::{Optimizations, Recompressions, Report, Sizes};
use crate::admin::command::Permission as P;
use crate::admin::http::tables::{self, Measure, Merge, MergeAll, Rewrite};

const DATABASE: Parameter = Parameter {
    name: "database",
    about: "Database of the tables; clickhouse.database without it",
    kind: Kind::Text,
};
const OF_DATABASE: Parameter = Parameter {
    name: "database",
    about: "Only this one; all but the server's own without it",
    kind: Kind::Text,
};
const PARTITIONS: Parameter =
    Parameter { name: "partitions", about: "true tells of each partition too", kind: Kind::Flag };
const SORT: Parameter = Parameter {
    name: "sort",
    about: "What comes first: the largest, or by name",
    kind: Kind::OneOf(&["bytes", "rows", "parts", "ratio", "name"]),
};

pub const ROUTES: &[Route] = &[
    Route {
        about: "How large databases, tables and partitions are",
        query: &[OF_DATABASE, TABLES, PARTITIONS, SORT, ENDPOINT],
        gives: shape::<Sizes>,
        ..look_once("/v1/tables", "table.sizes", P::TableRead, |s, a| Box::pin(tables::sizes(s, a)))
    },
    Route {
        about: "What each column of a table takes; measures nothing",
        query: &[DATABASE, ENDPOINT],
        gives: shape::<Report>,
        ..look_once("/v1/tables/{name}/compression", "table.columns", P::TableRead, |s, a| {
            Box::pin(tables::columns(s, a))
        })
    },
    Route {
        about: "Measures with a sample which codec would take less, in a scratch table that is gone afterwards",
        query: &[DATABASE, ENDPOINT],
        body: Some(shape::<Measure>),
        changes: Changes::NothingForLong,
        gives: shape::<Report>,
        ..job("/v1/tables/{name}/compression", "table.compression", P::TableCare, |s, a| {
            Box::pin(async { tables::compression(s, a) })
        })
    },
    Route {
        about: "Merges the parts of a table now",
        query: &[DATABASE, ENDPOINT],
        body: Some(shape::<Merge>),
        gives: shape::<Optimizations>,
        ..job("/v1/tables/{name}/optimize", "table.optimize", P::TableCare, |s, a| {
            Box::pin(tables::optimize(s, a))
        })
    },
    Route {
        about: "Merges the parts of the tables named, or of all but some; one that fails does not stop the others",
        query: &[DATABASE, ENDPOINT],
        body: Some(shape::<MergeAll>),
        gives: shape::<Optimizations>,
        ..job("/v1/tables/optimize", "table.optimize_all", P::TableCare, |s, a| {
            Box::pin(tables::optimize_all(s, a))
        })
    },
    Route {
        about: "Writes partitions again, so that they get the codecs that their columns have now",
        query: &[DATABASE, ENDPOINT],
        body: Some(shape::<Rewrite>),
        gives: shape::<Recompressions>,
        ..job("/v1/tables/{name}/recompress", "table.recompress", P::TableCare, |s, a| {
            Box::pin(tables::recompress(s, a))
        })
    },
];

//! What an environment has learned of its statements and of the types they give: asked once, and good for every session
//! that comes after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambda_rds_core::backend::Statement;
use lambda_rds_core::value::Kind;

use crate::decode::Columns;
use crate::types::{self, Decoder, Types};

/// What the sessions of an environment share.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    statements: Mutex<ByStatement<Arc<Known>>>,
    /// Those that were another statement inside a transaction than outside of it: what stands before them there changes
    /// tables, or the path on which they are searched.
    depending: Mutex<ByStatement<()>>,
    types: Mutex<Types>,
}

/// What is known of a statement: what its parameters are declared as, and what the server says of it.
#[derive(Debug)]
pub(crate) struct Known {
    /// The types that the parameters are declared as; 0 is for the server to infer.
    pub(crate) declared: Box<[u32]>,
    /// What the server takes them for.
    pub(crate) taken: Box<[u32]>,
    pub(crate) fields: Vec<Field>,
    /// In which format each column is asked for.
    pub(crate) formats: Box<[i16]>,
}

/// A column, as RowDescription has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// The table's OID and the number of its column; 0 where it is none.
    pub(crate) origin: (u32, i16),
    pub(crate) oid: u32,
    pub(crate) format: i16,
}

impl Learned {
    pub(crate) fn known(&self, statement: &Statement) -> Option<Arc<Known>> {
        self.statements().get(statement).map(|known| Arc::clone(known))
    }

    pub(crate) fn keep(&self, statement: &Statement, known: &Arc<Known>) {
        self.statements().insert(statement, Arc::clone(known));
    }

    pub(crate) fn forget(&self, statement: &Statement) {
        self.statements().remove(statement);
    }

    /// Whether the statement is to be asked about where it stands in a transaction.
    pub(crate) fn depends(&self, statement: &Statement) -> bool {
        self.depending().get(statement).is_some()
    }

    pub(crate) fn depend(&self, statement: &Statement) {
        self.depending().insert(statement, ());
    }

    pub(crate) fn settle(&self, statement: &Statement) {
        self.depending().remove(statement);
    }

    /// The types that must be asked about before values of them can be read.
    pub(crate) fn unknown_types(&self, fields: &[Field]) -> Vec<u32> {
        let types = self.types();
        let mut unknown: Vec<u32> = fields
            .iter()
            .map(|field| field.oid)
            .filter(|oid| types::decoder(*oid, &types).is_none())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Whether the values of all these columns are read from their binary form.
    pub(crate) fn all_binary(&self, fields: &[Field]) -> bool {
        let types = self.types();
        let binary =
            |field: &Field| types::decoder(field.oid, &types).is_some_and(|it| it.format() == types::BINARY);
        fields.iter().all(binary)
    }

    /// Takes in what the catalog says of types; those that it does not know come as text.
    pub(crate) fn learn_types(&self, asked: &[u32], rows: &[Vec<Option<String>>]) {
        let mut types = self.types();
        types::learned(rows, &mut types);
        for oid in asked {
            types.entry(*oid).or_insert(Decoder::Text);
        }
    }

    pub(crate) fn decoder(&self, oid: u32) -> Decoder {
        types::decoder(oid, &self.types()).unwrap_or(Decoder::Text)
    }

    /// The decoders of columns that come in these formats; `None` if one of them comes in a format that we cannot read,
    /// because its type is another one than it was when the format was chosen.
    pub(crate) fn columns(&self, fields: &[Field]) -> Option<Columns> {
        let decoders = fields.iter().map(|field| match (self.decoder(field.oid), field.format) {
            (decoder, format) if decoder.format() == format => Some((field.name.clone(), decoder)),
            _ => None,
        });
        Some(Columns::new(decoders.collect::<Option<Vec<_>>>()?.into_iter()))
    }

    fn statements(&self) -> MutexGuard<'_, ByStatement<Arc<Known>>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depending(&self) -> MutexGuard<'_, ByStatement<()>> {
        self.depending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn types(&self) -> MutexGuard<'_, Types> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map by what makes a statement: its SQL, and what its parameters are declared as.
///
/// What was asked for last is at the front. A batch asks five times for each of a thousand statements that are the same, and
/// a function has some dozens: looking along them costs less than a hash of a text.
#[derive(Debug)]
pub(crate) struct ByStatement<T>(Vec<Of<T>>);

#[derive(Debug)]
struct Of<T> {
    sql: Arc<str>,
    kinds: Box<[Kind]>,
    value: T,
}

impl<T> Of<T> {
    fn is(&self, statement: &Statement) -> bool {
        self.sql == statement.sql
            && self.kinds.iter().copied().eq(statement.arguments.iter().map(|argument| argument.kind))
    }
}

impl<T> Default for ByStatement<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByStatement<T> {
    pub(crate) fn get(&mut self, statement: &Statement) -> Option<&mut T> {
        let at = self.0.iter().position(|of| of.is(statement))?;
        self.0.swap(0, at);
        self.0.first_mut().map(|of| &mut of.value)
    }

    pub(crate) fn insert(&mut self, statement: &Statement, value: T) {
        if let Some(known) = self.get(statement) {
            *known = value;
            return;
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let kinds = statement.arguments.iter().map(|argument| argument.kind).collect();
        self.0.push(Of { sql: Arc::clone(&statement.sql), kinds, value });
    }

    pub(crate) fn remove(&mut self, statement: &Statement) -> Option<T> {
        let at = self.0.iter().position(|of| of.is(statement))?;
        Some(self.0.swap_remove(at).value)
    }
}

/// A function has some dozens of queries; what is asked beside them must not add up.
const MOST: usize = 1_000;

#[cfg(test)]
mod tests {
    use lambda_rds_core::value::{Argument, Scalar, Value};

    use super::*;

    fn statement(sql: &str, scalars: &[Scalar]) -> Statement {
        let argument = |scalar: &Scalar| Argument {
            name: "a".into(),
            kind: Kind { scalar: *scalar, array: false },
            value: Value::Null,
        };
        Statement { sql: sql.into(), arguments: scalars.iter().map(argument).collect() }
    }

    #[test]
    fn a_statement_is_its_text_and_the_types_of_its_parameters() {
        let mut map = ByStatement::default();
        let all = [
            statement("SELECT $1", &[Scalar::Int]),
            statement("SELECT $1", &[Scalar::Text]),
            statement("SELECT 1", &[]),
        ];
        for (value, one) in all.iter().enumerate() {
            map.insert(one, value);
        }
        // Whatever was asked for before.
        for order in [[0, 1, 2], [2, 0, 1], [1, 1, 0]] {
            for value in order {
                assert_eq!(map.get(&all[value]), Some(&mut value.clone()));
            }
        }
        map.insert(&all[1], 7);
        assert_eq!(map.remove(&all[1]), Some(7));
        assert_eq!(map.remove(&all[1]), None);
        assert_eq!((map.get(&all[0]).copied(), map.get(&all[2]).copied()), (Some(0), Some(2)));
        assert_eq!(map.get(&statement("SELECT $1", &[])), None);
        for number in 0..2 * MOST {
            map.insert(&statement(&format!("SELECT {number}"), &[]), number);
            assert!(map.0.len() <= MOST);
        }
    }
}

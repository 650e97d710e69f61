//! The rows of a page: as many as belong to it and fit, and where the next one begins.

use std::sync::Arc;

use super::Body;
use crate::error::{Error, Fault, Result};
use crate::page;
use crate::queries::page::OrderColumn;
use crate::value::Value;

/// What makes rows a page.
#[derive(Debug, Clone)]
pub(crate) struct Paging {
    /// The columns by which they are ordered.
    pub(crate) order: Arc<[OrderColumn]>,
    /// How many rows a page has; one more may come.
    pub(crate) size: u64,
    /// Of which query the next page's token is.
    pub(crate) fingerprint: u64,
}

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Page {
    paging: Paging,
    /// How many bytes it may take, with what stands behind the rows.
    limit: usize,
    /// The place of the row that is being written, as far as it is known, and that of the last one which was kept.
    place: Vec<Option<Value>>,
    last: Vec<Value>,
    kept: u64,
    /// Whether there are more rows.
    more: bool,
    /// The next page.
    pub(super) token: Option<String>,
}

impl Page {
    pub(super) fn new(paging: Paging, limit: usize) -> Self {
        let place = vec![None; paging.order.len()];
        Self { paging, limit, place, last: Vec::new(), kept: 0, more: false, token: None }
    }

    pub(super) fn clear(&mut self) {
        self.place.fill(None);
        self.last.clear();
        self.kept = 0;
        self.more = false;
        self.token = None;
    }

    /// Which column of the order this one is, counted from 1; 0 for none.
    pub(super) fn number(&self, name: &str) -> u8 {
        let at = self.paging.order.iter().position(|column| column.name == name);
        at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0)
    }

    /// Whether the result has all columns of the order.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`], if it has not.
    pub(super) fn check(&self, names: &[&str]) -> Result<()> {
        match self.paging.order.iter().find(|column| !names.contains(&column.name.as_str())) {
            None => Ok(()),
            Some(OrderColumn { name, .. }) => Err(Error::new(
                Fault::QueryFailed,
                format!("`-- page:` names the column `{name}`, which the result does not have"),
            )),
        }
    }

    /// The row has this value in a column of the order.
    pub(super) fn tell(&mut self, number: u8, value: Value) {
        if let Some(slot) = self.place.get_mut(usize::from(number).wrapping_sub(1)) {
            *slot = Some(value);
        }
    }

    /// Whether the row that has been written belongs to the page. `used` is what is taken with it.
    pub(super) fn keeps(&mut self, used: usize) -> Result<bool> {
        if self.more || self.kept >= self.paging.size {
            self.more = true;
            return Ok(false);
        }
        let mut place = Vec::with_capacity(self.place.len());
        for (value, column) in self.place.iter_mut().zip(&*self.paging.order) {
            place.push(value.take().ok_or_else(|| no_place(&column.name))?);
        }
        // Letters, in threes of bytes each four.
        let token: usize = place.iter().map(|value| 20 + held(value)).sum::<usize>() * 2;
        if self.kept > 0 && used + token + BEHIND > self.limit {
            self.more = true;
            return Ok(false);
        }
        self.kept += 1;
        self.last = place;
        Ok(true)
    }

    /// What stands behind the rows, in a body of JSON.
    pub(super) fn end(&mut self, body: &mut Body, json: bool) -> Result<()> {
        if self.more {
            self.token = Some(page::token(self.paging.fingerprint, &self.last)?);
        }
        if !json {
            return Ok(());
        }
        match &self.token {
            None => body.write(b",\"next\":null}", 2),
            Some(token) => {
                body.write(b",\"next\":\"", 3)?;
                body.write(token.as_bytes(), 0)?;
                body.write(b"\"}", 1)
            }
        }
    }
}

/// The value of a column that nothing can be ordered behind.
#[cold]
fn no_place(name: &str) -> Error {
    Error::new(
        Fault::QueryFailed,
        format!(
            "the column `{name}` of `-- page:` has a NULL, an array or JSON in a row, behind which no page can begin: page \
             by columns that are NOT NULL"
        ),
    )
}

fn held(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Decimal(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// What stands behind the rows, without the token.
const BEHIND: usize = 64;

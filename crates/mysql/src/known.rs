//! The statements that an environment has prepared, or expects to: a session that is opened prepares them with its login, in
//! the same flight, so that a query's first use and a reconnect cost a call nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The statements that were used last, the newest at the end.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<VecDeque<Arc<str>>>);

impl Known {
    /// A statement was prepared.
    pub(crate) fn learn(&self, sql: &Arc<str>) {
        let mut known = self.known();
        if let Some(at) = known.iter().position(|other| other == sql) {
            known.remove(at);
        }
        known.push_back(Arc::clone(sql));
        if known.len() > MOST {
            known.pop_front();
        }
    }

    /// The first of these will be asked for. More would take a cold start longer than the round trip that is saved, and each may
    /// have to wait for its table.
    pub(crate) fn expect(&self, statements: &mut dyn Iterator<Item = Arc<str>>) {
        statements.take(EXPECTED).for_each(|sql| self.learn(&sql));
    }

    /// All of them, of which one may hold a login up.
    pub(crate) fn forget_all(&self) {
        self.known().clear();
    }

    /// A statement was refused.
    pub(crate) fn forget(&self, sql: &str) {
        self.known().retain(|other| **other != *sql);
    }

    pub(crate) fn all(&self) -> Vec<Arc<str>> {
        self.known().iter().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A login is not to wait for more than this.
const MOST: usize = 32;
const EXPECTED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known() {
        let known = Known::default();
        for number in 0..MOST + 2 {
            known.learn(&format!("SELECT {number}").into());
        }
        known.learn(&"SELECT 2".into());
        known.forget("SELECT 3");
        let all = known.all();
        assert_eq!(all.len(), MOST - 1);
        assert_eq!((&*all[0], &**all.last().unwrap()), ("SELECT 4", "SELECT 2"));
        known.forget_all();
        known.expect(&mut (0..).map(|number| format!("SELECT {number}").into()));
        assert_eq!(known.all().len(), EXPECTED);
    }
}

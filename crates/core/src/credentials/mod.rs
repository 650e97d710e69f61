//! User and password of the database, and where they were found with it.

use std::fmt;

use secrecy::SecretString;

/// A user and that user's password; the two always travel together.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password: a type that cannot print.
    pub password: SecretString,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

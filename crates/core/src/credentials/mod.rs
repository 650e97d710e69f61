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

/// The region that a secret's ARN names.
pub(crate) fn region_of(secret_id: &str) -> Option<&str> {
    let parts: Vec<&str> = secret_id.splitn(7, ':').collect();
    match parts.as_slice() {
        ["arn", _, "secretsmanager", region, _, "secret", name] if !region.is_empty() && !name.is_empty() => {
            Some(region)
        }
        _ => None,
    }
}

//! What the server says of a session's settings, unasked: whenever one of those that it reports changes.
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC>

use lambda_rds_core::backend::Pooling;

use crate::messages::Rest;

/// Settings as the server has reported them last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reported {
    settings: Vec<(String, String)>,
    /// How many reports there were.
    reports: u64,
}

impl Reported {
    /// Takes in the body of a ParameterStatus message.
    pub(crate) fn hear(&mut self, body: &[u8]) {
        let mut rest = Rest(body);
        let (Some(name), Some(value)) = (rest.string(), rest.string()) else { return };
        self.reports += 1;
        match self.settings.iter().position(|(other, _)| *other == name) {
            Some(at) => self.settings[at].1 = value,
            // A server reports some twenty.
            None if self.settings.len() < MOST => self.settings.push((name, value)),
            None => {}
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[cfg(feature = "sea-orm")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A setting that is not as we need it, after the login.
    pub(crate) fn unwanted(&self, pooling: Pooling) -> Option<(&str, &str)> {
        let wanted = WANTED.iter().filter(|(name, _)| pooling == Pooling::None || *name != READ_ONLY);
        wanted.copied().find_map(|(name, value)| {
            let told = self.get(name)?;
            (!told.eq_ignore_ascii_case(value)).then_some((name, told))
        })
    }

    /// Whether the session is another one than it was after the login, since something has changed a setting that
    /// outlives a transaction. `login` is what was reported until then.
    pub(crate) fn differs(&self, login: &Self, pooling: Pooling) -> bool {
        if self.reports == login.reports {
            // Asked after every statement, of a server that has said nothing new.
            return false;
        }
        let own = |name: &&&str| pooling == Pooling::None || !SERVERS.contains(name);
        WATCHED.iter().filter(own).any(|name| self.get(name) != login.get(name))
    }
}

/// The setting that makes transactions read-only. Reported since PostgreSQL 14.
pub(crate) const READ_ONLY: &str = "default_transaction_read_only";

/// What we need: the first for reads, the next for our lexer, the others for what values mean.
const WANTED: [(&str, &str); 4] = [
    (READ_ONLY, "on"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
    ("client_encoding", "UTF8"),
];

/// What must stay as it is. The server reports no other setting that changes what rows are given or what they mean;
/// `search_path` since PostgreSQL 18.
const WATCHED: [&str; 9] = [
    READ_ONLY,
    "standard_conforming_strings",
    "TimeZone",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "session_authorization",
    "is_superuser",
    "search_path",
];

/// Behind a pooler these are those of whichever server it has lent.
const SERVERS: [&str; 5] =
    [READ_ONLY, "IntervalStyle", "session_authorization", "is_superuser", "search_path"];

const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(settings: &[(&str, &str)]) -> Reported {
        let mut reported = Reported::default();
        for (name, value) in settings {
            reported.hear(format!("{name}\0{value}\0").as_bytes());
        }
        reported
    }

    #[test]
    fn a_setting_that_did_not_take_is_named() {
        let fine = [(READ_ONLY, "on"), ("TimeZone", "UTC"), ("client_encoding", "UTF8")];
        assert_eq!(reported(&fine).unwanted(Pooling::None), None);
        let off = reported(&[(READ_ONLY, "off"), ("TimeZone", "UTC")]);
        assert_eq!(off.unwanted(Pooling::None), Some((READ_ONLY, "off")));
        assert_eq!(off.unwanted(Pooling::Transaction), None);
        let strings = reported(&[("standard_conforming_strings", "off")]);
        for pooling in [Pooling::None, Pooling::Transaction, Pooling::RdsProxy] {
            assert_eq!(strings.unwanted(pooling), Some(("standard_conforming_strings", "off")));
        }
    }

    #[test]
    fn a_setting_that_has_changed_is_seen_and_one_that_came_back_is_none() {
        let login = reported(&[(READ_ONLY, "on"), ("TimeZone", "UTC")]);
        let mut now = login.clone();
        assert!(!now.differs(&login, Pooling::None));
        now.hear(b"TimeZone\0Asia/Tokyo\0");
        assert!(now.differs(&login, Pooling::None) && now.differs(&login, Pooling::Transaction));
        now.hear(b"TimeZone\0UTC\0");
        now.hear(b"in_hot_standby\0on\0");
        assert!(!now.differs(&login, Pooling::None));
        now.hear(b"default_transaction_read_only\0off\0");
        assert!(now.differs(&login, Pooling::None) && !now.differs(&login, Pooling::Transaction));
        now.hear(b"cut short");
    }
}

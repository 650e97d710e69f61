//! What a host's name tells: RDS names the endpoints of a cluster by one scheme.
//!
//! | endpoint | name |
//! |---|---|
//! | the cluster's | `app.cluster-c9akciq32.eu-west-1.rds.amazonaws.com` |
//! | its readers' | `app.cluster-ro-c9akciq32.eu-west-1.rds.amazonaws.com` |
//! | a custom one | `reports.cluster-custom-c9akciq32.eu-west-1.rds.amazonaws.com` |
//! | a member's | `app-1.c9akciq32.eu-west-1.rds.amazonaws.com` |
//! | RDS Proxy's | `app.proxy-c9akciq32.eu-west-1.rds.amazonaws.com` |
//!
//! In China the names end in `.cn`, and the region may stand after `rds`.

use lambda_rds_core::config::is_rds_name;

/// A host, as far as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// A cluster's endpoint.
    Cluster {
        /// What the names of its members have after their own.
        domain: String,
        /// The endpoint of its readers.
        readers: String,
    },
    /// The endpoint of a cluster's readers.
    Readers {
        /// What the names of its members have after their own.
        domain: String,
    },
    /// What names a server, a chosen group of them, or a proxy: whoever wrote it means it.
    Chosen,
    /// Any other name, or an address.
    Other,
}

impl Name {
    pub(crate) fn of(host: &str) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut labels = host.splitn(3, '.');
        let (Some(own), Some(kind), Some(rest)) = (labels.next(), labels.next(), labels.next()) else {
            return Self::Other;
        };
        if !is_rds_name(&host) || kind.starts_with("global-") {
            return Self::Other;
        }
        let proxy = host.split('.').any(|label| label.starts_with("proxy-"));
        if proxy || kind.starts_with("cluster-custom-") {
            Self::Chosen
        } else if let Some(id) = kind.strip_prefix("cluster-ro-") {
            Self::Readers { domain: format!("{id}.{rest}") }
        } else if let Some(id) = kind.strip_prefix("cluster-") {
            Self::Cluster { domain: format!("{id}.{rest}"), readers: format!("{own}.cluster-ro-{id}.{rest}") }
        } else {
            Self::Chosen
        }
    }

    /// What the names of the cluster's members have after their own, if it tells.
    pub(crate) fn domain(&self) -> Option<&str> {
        match self {
            Self::Cluster { domain, .. } | Self::Readers { domain } => Some(domain),
            Self::Chosen | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_name() {
        let cluster = |domain: &str, readers: &str| Name::Cluster {
            domain: domain.to_owned(),
            readers: readers.to_owned(),
        };
        for (host, want) in [
            (
                "App.cluster-c9akciq32.eu-west-1.rds.amazonaws.com.",
                cluster(
                    "c9akciq32.eu-west-1.rds.amazonaws.com",
                    "app.cluster-ro-c9akciq32.eu-west-1.rds.amazonaws.com",
                ),
            ),
            (
                "app.cluster-c9akciq32.rds.cn-north-1.amazonaws.com.cn",
                cluster(
                    "c9akciq32.rds.cn-north-1.amazonaws.com.cn",
                    "app.cluster-ro-c9akciq32.rds.cn-north-1.amazonaws.com.cn",
                ),
            ),
            (
                "app.cluster-c9akciq32.cn-north-1.rds.amazonaws.com.cn",
                cluster(
                    "c9akciq32.cn-north-1.rds.amazonaws.com.cn",
                    "app.cluster-ro-c9akciq32.cn-north-1.rds.amazonaws.com.cn",
                ),
            ),
            (
                "app.cluster-ro-c9akciq32.eu-west-1.rds.amazonaws.com",
                Name::Readers { domain: "c9akciq32.eu-west-1.rds.amazonaws.com".to_owned() },
            ),
            ("reports.cluster-custom-c9akciq32.eu-west-1.rds.amazonaws.com", Name::Chosen),
            ("app-1.c9akciq32.eu-west-1.rds.amazonaws.com", Name::Chosen),
            ("app.proxy-c9akciq32.eu-west-1.rds.amazonaws.com", Name::Chosen),
            ("readers.endpoint.proxy-c9akciq32.eu-west-1.rds.amazonaws.com", Name::Chosen),
            ("app.global-c9akciq32.global.rds.amazonaws.com", Name::Other),
            ("db.example.com", Name::Other),
            ("app.cluster-c9akciq32.example.com", Name::Other),
            ("127.0.0.1", Name::Other),
            ("localhost", Name::Other),
        ] {
            assert_eq!(Name::of(host), want, "{host}");
        }
    }
}

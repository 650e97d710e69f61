//! What is given away of lambda-rds, made from files that are there: the zip that Lambda takes, the zip of a layer, an
//! image. The same files give the same bytes, whenever, wherever and by whom it is made: `cargo xtask` and the command
//! `lambda-rds` both pack by this crate.

pub mod archive;
mod bootstrap;
pub mod carried;
pub mod elf;
pub mod image;

pub use archive::{Entry, zip};
pub use bootstrap::Bootstrap;
pub use image::Image;

use clap::ValueEnum;

/// The engines that a function can be built with: features of the root package. SQLite is for the desk only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL, and Aurora PostgreSQL.
    AuroraPostgres,
    /// MySQL, and Aurora MySQL.
    AuroraMysql,
    /// All of them, of which `DB_ENGINE` picks one.
    Aurora,
}

impl Engine {
    /// Its name, which is a feature of the root package as well.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::AuroraPostgres => "aurora-postgres",
            Self::AuroraMysql => "aurora-mysql",
            Self::Aurora => "aurora",
        }
    }
}

/// The processors that Lambda has, in Lambda's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Arch {
    /// Intel and AMD.
    #[value(name = "x86_64")]
    X86,
    /// Graviton.
    #[value(name = "arm64")]
    Arm,
}

impl Arch {
    /// This machine's; `None` if Lambda has no such processor.
    #[must_use]
    pub fn this() -> Option<Self> {
        [Self::X86, Self::Arm].into_iter().find(|arch| arch.machine() == std::env::consts::ARCH)
    }

    /// Lambda's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }

    /// Rust's and GNU's word for it.
    #[must_use]
    pub fn machine(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// The word of container images.
    #[must_use]
    pub fn oci(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CI and people name them on the command line, and the root package has a feature of each name.
    #[test]
    fn every_engine_of_a_server_has_a_zip() {
        let manifest = include_str!("../../../Cargo.toml");
        let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
        for name in ["postgres", "mysql", "aurora-postgres", "aurora-mysql", "aurora"] {
            let engine = Engine::from_str(name, false).unwrap();
            assert_eq!(engine.name(), name);
            assert!(features.lines().any(|line| line.starts_with(&format!("{name} = "))), "{features}");
        }
        // Nobody runs an embedded database in Lambda.
        for name in ["sqlite", "oracle"] {
            assert!(Engine::from_str(name, false).is_err(), "{name}");
        }
    }
}

//! The backend against real servers, MySQL and MariaDB: each test runs on both.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod cancelling;
mod connecting;
mod describing;
mod every_type;
mod failing;
mod fixture;
mod login;
mod peers;
mod pipelining;
mod standing;
mod values;
mod writing;

/// Makes a test on each server out of each function that takes its kind.
macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod mysql {
            $(#[tokio::test] async fn $name() { super::$name(lambda_rds_testbed::MysqlKind::Mysql).await; })+
        }
        mod mariadb {
            $(#[tokio::test] async fn $name() { super::$name(lambda_rds_testbed::MysqlKind::MariaDb).await; })+
        }
    };
}
pub(crate) use on_both_servers;

//! The whole function as Lambda runs it: the built `bootstrap`, real servers, TLS, and the event's way from the
//! Runtime API and back.
//!
//! What holds on every engine is written once and instantiated per engine by [`on_every_engine`], and through the topology,
//! on the two engines of clusters, by [`on_clusters`].
//!
//! Left out there is what a cluster cannot be or have: a server with a broken set-up of its own ([`broken`], most of
//! [`diagnose`] and of [`tls`]), a pooler, which hides the members ([`pooler`], [`pooled_mysql`]), tables without transactions,
//! which replication by GTIDs refuses ([`lasting`]), one engine's own login and values ([`mysql`], [`mysql_login`]), and what
//! never meets a database ([`terraform`]) or is a program of its own ([`migrations`]). A server that takes no writes is
//! [`failover`]'s matter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod agents;
mod broken;
mod callers;
mod concurrency;
mod contention;
mod contract;
mod cuts;
mod deadlines;
mod diagnose;
mod emulators;
mod events;
mod failover;
mod forms;
mod frozen;
mod guides;
mod http;
mod iam;
mod identity;
mod input;
mod lasting;
mod leaks;
mod memory;
mod migrations;
mod mysql;
mod mysql_login;
mod once;
mod openapi;
mod pages;
mod pooled_mysql;
mod pooler;
mod queues;
mod reconnects;
mod reference;
mod rotation;
mod secrets;
mod shutdown;
mod silence;
mod sources;
mod startup;
mod state;
mod streams;
mod terraform;
mod tls;
mod told;
mod transactions;
mod world;

/// Makes a test of each engine out of each function that takes one.
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Postgres).await; })+
        }
        mod mysql {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Mysql).await; })+
        }
        mod mariadb {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::MariaDb).await; })+
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Sqlite).await; })+
        }
    };
}
pub(crate) use on_every_engine;

/// The same for the two engines of clusters, through the topology.
macro_rules! on_clusters {
    ($($name:ident),+ $(,)?) => {
        mod aurora_postgres {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::AuroraPostgres).await; })+
        }
        mod aurora_mysql {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::AuroraMysql).await; })+
        }
    };
}
pub(crate) use on_clusters;

/// Makes a test of each engine that is a server out of each function that takes an engine: what befalls a wire or a
/// server befalls no file. What it spawns goes on while it waits for a server without giving way.
macro_rules! on_every_server {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() { super::$name($crate::world::Engine::Postgres).await; })+
        }
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() { super::$name($crate::world::Engine::Mysql).await; })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() { super::$name($crate::world::Engine::MariaDb).await; })+
        }
    };
}
pub(crate) use on_every_server;

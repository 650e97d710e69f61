//! From a target to a session: dial, encrypt, log in, and send one `SET`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lambda_rds_core::backend::{Pooling, Session, Target};
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::live::Live;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::error::{Error, Fault, Phase, Result};

use crate::Keeper;
use crate::cancel::MySqlCancel;
use crate::classify::{self, Doing};
use crate::known::Known;
use crate::login::{Greeted, Who};
use crate::packet::Refusal;
use crate::session::{MySql, READ_ONLY, lock_wait};
use crate::talk::{Collection, Command};

/// Opens one session. After the TCP handshake: three flights with TLS 1.3 and a login that the server has cached.
pub(crate) async fn connect(to: &Target, known: &Arc<Known>) -> Result<Box<dyn Session>> {
    let tcp = dial::dial(&to.endpoint, to.by, &to.progress).await?;
    let peer = tcp.peer_addr().map_err(|error| {
        // The server has hung up already.
        let text = format!("{} took the connection and hung up: {error}", to.endpoint);
        Error::new(Fault::ConnectionLost, text).with_phase(Phase::Tcp)
    })?;
    let greeted = Greeted::open(Wire::plain(tcp), &to.tls, &to.progress, to.by).await?;
    let server = to.endpoint.to_string();
    let who = Who {
        server: &server,
        login: &to.login,
        database: Some(&to.database),
        application_name: &to.application_name,
    };
    let connection = greeted.log_in(who, &to.progress, to.by).await?;
    to.progress.enter(Phase::Ready);
    let thread = connection.thread();
    let cancel =
        MySqlCancel::new(peer, Arc::clone(&to.tls), to.relogin.clone(), thread, &to.application_name);
    let (mut wire, welcome, spoken) = connection.into_parts();
    let mut session = MySql::new(&welcome, spoken, cancel, known, to);
    let statements = if session.pipeline { known.all() } else { Vec::new() };
    match to.by.bound(settle(&mut session, &mut wire, &statements, to)).await {
        Ok(Ok(())) => Ok(Box::new(Live::<_, Keeper>::new(session, wire))),
        Ok(Err(error)) => Err(error.with_phase(Phase::Ready)),
        Err(_) => {
            // Should it be their tables that are waited for, the next session is opened without them.
            known.forget_all();
            let text = format!("{} did not take the session's settings in time", to.endpoint);
            Err(Error::new(Fault::Unreachable, text).with_phase(Phase::Ready))
        }
    }
}

/// Tells the server what every session is like, prepares what the environment will ask for, and looks whether the
/// settings took: one flight.
async fn settle(session: &mut MySql, wire: &mut Wire, statements: &[Arc<str>], to: &Target) -> Result<()> {
    let mut commands = Vec::with_capacity(statements.len() + 2);
    match to.pooling {
        Pooling::None => {
            // Whatever the call wants, what is prepared waits for its table, should that be altered just now: for a second,
            // which is the least that there is.
            let settings = format!("{}; SET lock_wait_timeout = 1", session_settings(to.statement_timeout));
            commands.push(Command::Text(settings.into()));
            // A write cannot be prepared in a session that may only read.
            commands.extend(statements.iter().map(|sql| Command::Prepare(sql)));
            let waits = lock_wait(to.statement_timeout);
            let rest = format!("SET lock_wait_timeout = {waits}; {READ_ONLY}; {QUESTION}");
            commands.push(Command::Text(rest.into()));
        }
        Pooling::Transaction | Pooling::RdsProxy => commands.push(Command::Text(POOLED_SETTINGS.into())),
    }
    let answers = match statements {
        [] if to.pooling == Pooling::None => {
            // One message, so that it is one flight also where nothing may be sent ahead.
            let both = format!("{}; {READ_ONLY}; {QUESTION}", session_settings(to.statement_timeout));
            session.collect(wire, &[Command::Text(both.into())], Doing::Connect).await?
        }
        _ => session.collect_all(wire, &commands, Doing::Connect).await?,
    };
    let mut prepared = answers.iter();
    let last = answers.len() - 1;
    if let Some(refusal) = [&answers[0], &answers[last]].into_iter().find_map(|it| it.refused.as_ref()) {
        return Err(refused(refusal, to));
    }
    prepared.next();
    for (sql, Collection { prepared, .. }) in statements.iter().zip(prepared) {
        match prepared {
            Some(prepared) => session.keep(sql, *prepared),
            // A table is gone; whoever asks for the statement is told.
            None => session.forget(sql),
        }
    }
    if to.pooling == Pooling::None {
        let told = answers[last].rows.last().map(Vec::as_slice).unwrap_or_default();
        let (settings, longest) = told.split_at(told.len().min(ASKED.len()));
        session.takes(longest.first().and_then(|told| told.as_ref()?.parse().ok()));
        return untaken(settings).map_or(Ok(()), |which| Err(not_kept(which, to)));
    }
    Ok(())
}

#[cold]
fn refused(Refusal { number, message, .. }: &Refusal, to: &Target) -> Error {
    let fault = classify::of_connection(*number);
    let text = format!("{} refused the session's settings: {message}.", to.endpoint);
    Error::new(fault, text).with_sqlstate(number.to_string())
}

/// The first setting that is not what we want it to be, and what it is, by what the server tells of those in [`ASKED`].
fn untaken(row: &[Option<String>]) -> Option<(&'static str, String)> {
    let is_wanted = |name: &str, value: &str| match name {
        "sql_mode" => {
            let mut modes = value.split(',');
            modes.clone().any(|mode| mode == STRICT) && !modes.any(|mode| UNWANTED.contains(&mode))
        }
        _ => WANTED.iter().any(|(wanted, values)| *wanted == name && values.contains(&value)),
    };
    ASKED.iter().enumerate().find_map(|(index, name)| {
        let told = row.get(index).and_then(Option::as_deref).unwrap_or("NULL");
        (!is_wanted(name, told)).then(|| (*name, told.to_owned()))
    })
}

#[cold]
fn not_kept((name, told): (&str, String), to: &Target) -> Error {
    let text = format!("{} did not keep the session's settings: `{name}` is `{told}` there", to.endpoint);
    Error::new(Fault::Unreachable, text).with_hint(format!(
        "`{name}`, which the session has set and which did not stay: set DB_POOLER=transaction if there is a pooler \
         between the function and the server"
    ))
}

/// The settings of a session in one statement, which each of the two servers reads in its own way: `/*!50720 … */`
/// is for MySQL, `/*M! … */` for MariaDB.
///
/// The server's `sql_mode` stays, but for what would change the meaning of quotes, backslashes and empty strings under
/// our lexer or pad what is stored, and with strictness, without which the server stores what it likes instead of refusing
/// it. What is taken out gives way to a mode that is wanted: in a session where an empty string is NULL, so would be the
/// whole mode.
fn session_settings(statement_timeout: Duration) -> String {
    let millis = statement_timeout.as_millis().clamp(1, u128::from(u32::MAX));
    let seconds = statement_timeout.as_secs().clamp(1, LONGEST_IDLE);
    let lock = lock_wait(statement_timeout);
    let mut mode = "@@sql_mode".to_owned();
    let mut set = String::with_capacity(1600);
    // Writing to a `String` cannot fail.
    for unwanted in UNWANTED {
        mode = format!("REPLACE({mode}, '{unwanted}', '{STRICT}')");
    }
    let _ = write!(
        set,
        "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', completion_type = 0, \
         sql_mode = CONCAT({mode}, ',{STRICT},NO_ENGINE_SUBSTITUTION'), sql_auto_is_null = 0, \
         sql_select_limit = 18446744073709551615, \
         group_concat_max_len = CAST(GREATEST(@@group_concat_max_len, 1048576) AS UNSIGNED), \
         session_track_system_variables = '*', \
         innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock} \
         /*!50720 , max_execution_time = {millis} */ \
         /*M! , max_statement_time = {}.{:03}, idle_transaction_timeout = {seconds} */",
        millis / 1000,
        millis % 1000
    );
    set
}

/// Where a cancel request goes.
pub(crate) type Peer = SocketAddr;

/// A year.
const LONGEST_IDLE: u64 = 31_536_000;
/// What the session is asked whether it took.
const ASKED: [&str; 9] = [
    "autocommit",
    "time_zone",
    "completion_type",
    "sql_mode",
    "sql_auto_is_null",
    "sql_select_limit",
    "character_set_client",
    "character_set_results",
    "transaction_read_only",
];
/// Those, and then how long a message may be.
const QUESTION: &str = "SELECT @@autocommit, @@time_zone, @@completion_type, @@sql_mode, @@sql_auto_is_null, \
     @@sql_select_limit, @@character_set_client, @@character_set_results \
     /*!50720 , @@transaction_read_only */ /*M! , @@tx_read_only */ , @@max_allowed_packet";
/// What must be answered.
const WANTED: [(&str, &[&str]); 8] = [
    ("autocommit", &["1"]),
    ("time_zone", &["+00:00"]),
    ("completion_type", &["NO_CHAIN"]),
    ("sql_auto_is_null", &["0"]),
    ("sql_select_limit", &["18446744073709551615"]),
    ("character_set_client", &["utf8mb4"]),
    ("character_set_results", &["utf8mb4"]),
    ("transaction_read_only", &["1"]),
];
const STRICT: &str = "STRICT_TRANS_TABLES";
/// Modes that no session has, and those that bring others with them. The longer ones come first.
const UNWANTED: [&str; 12] = [
    "NO_BACKSLASH_ESCAPES",
    "EMPTY_STRING_IS_NULL",
    "PAD_CHAR_TO_FULL_LENGTH",
    "POSTGRESQL",
    "ANSI_QUOTES",
    "MYSQL323",
    "MYSQL40",
    "ORACLE",
    "MAXDB",
    "MSSQL",
    "ANSI",
    "DB2",
];
/// Behind a pooler: only what poolers know to give to each client anew, as plain values, without which they would
/// keep the connection for us alone.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>
const POOLED_SETTINGS: &str = "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', \
     sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_did_not_take_is_named() {
        let wanted = |index: usize| match ASKED[index] {
            "sql_mode" => "PIPES_AS_CONCAT,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
            name => WANTED.iter().find(|(wanted, _)| *wanted == name).unwrap().1[0],
        };
        let row = || (0..ASKED.len()).map(|index| Some(wanted(index).to_owned())).collect::<Vec<_>>();
        assert_eq!(untaken(&row()), None);
        for (index, name) in ASKED.iter().enumerate() {
            for wrong in [None, Some("0,1".to_owned())] {
                let mut row = row();
                let told = wrong.clone().unwrap_or_else(|| "NULL".to_owned());
                row[index] = wrong;
                assert_eq!(untaken(&row), Some((*name, told)));
            }
        }
        let mut oracle = row();
        oracle[3] = Some("ORACLE,STRICT_TRANS_TABLES".to_owned());
        assert_eq!(untaken(&oracle).unwrap().0, "sql_mode");
        assert_eq!(untaken(&[]).unwrap().0, ASKED[0]);
    }

    #[test]
    fn the_lock_wait_ends_before_the_statement_does() {
        let check = |millis, lock: &str, mysql: &str, mariadb: &str| {
            let set = session_settings(Duration::from_millis(millis));
            for want in [
                format!("innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock} "),
                format!("max_execution_time = {mysql} "),
                format!("max_statement_time = {mariadb},"),
            ] {
                assert!(set.contains(&want), "{want} is not in {set}");
            }
        };
        check(10_000, "9", "10000", "10.000");
        check(2_500, "2", "2500", "2.500");
        check(1_000, "1", "1000", "1.000");
        // Zero would mean no limit.
        check(0, "1", "1", "0.001");
    }
}

//! `DB_AUTH=iam`: PostgreSQL asks for the password in the clear and has somebody else judge it, as RDS does. There
//! it is PAM, here LDAP, since a server for that takes a page.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use lambda_rds_testbed::{Cluster, Postgres};
use serde_json::json;

use crate::world::{Engine, Setup, World};

#[tokio::test]
async fn each_session_logs_in_with_a_token_of_its_own_and_no_secret() {
    let judge = Judge::start(true);
    let world = world(&judge).await;
    for _ in 0..2 {
        world.rows("user", json!({"id": 1})).await;
        world.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
    world.rows("user", json!({"id": 1})).await;

    let seen = judge.seen();
    assert_eq!(seen.len(), 3);
    let (user, token) = &seen[0];
    let own = &world.database().user;
    assert_eq!(user, own);
    let start = format!("127.0.0.1:{}/?Action=connect&DBUser={own}&X-Amz-", world.wire().port());
    assert!(token.starts_with(&start), "{token}");
    for part in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "%2Feu-central-1%2Frds-db%2Faws4_request",
        "X-Amz-Expires=900",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Security-Token=testbed-session-token-that-opens-nothing",
        "X-Amz-Signature=",
    ] {
        assert!(token.contains(part), "{part} is not in {token}");
    }
    assert_eq!(world.secrets.count(), 0);
    let logged = world.function.logs().join("\n");
    assert!(!logged.contains("X-Amz-Signature"), "a token is in the log");
}

#[tokio::test]
async fn a_token_that_is_rejected_says_what_to_look_at() {
    let judge = Judge::start(false);
    let world = world(&judge).await;
    let outcome = world.invoke(json!({"query": "user", "params": {"id": 1}})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("credentials_rejected")));
    let line = world.last_log(&outcome.request_id).await;
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("rds-db:connect") && detail.contains("rds_iam"), "{detail}");
    assert!(!world.function.logs().join("\n").contains("X-Amz-Signature"), "a token is in the log");
}

/// Whoever connects to a member by itself shows it a token for that member, also while all are asked at once. On MySQL the
/// same is decided before the engine is known; its servers of tests know no IAM, and the stand-in that does is no cluster.
#[tokio::test]
async fn each_member_of_a_cluster_is_shown_a_token_of_its_own() {
    let judge = Judge::start(true);
    let cluster = Arc::new(Cluster::postgres_with_access(2, &judge.access()).unwrap());
    let world = Setup::new(Engine::AuroraPostgres).approaching(&cluster).iam().start().await;
    let reader = world.another_with(&[("DB_READ_FROM", "reader")]).await;
    for _ in 0..2 {
        world.rows("user", json!({"id": 1})).await;
        let read = reader.invoke(json!({"query": "user", "params": {"id": 1}})).await.unwrap();
        assert_eq!(read.reply().unwrap().0, 200);
        world.hang_up();
    }
    let seen = judge.seen();
    let mut all = 0;
    for wire in world.wires() {
        let start = format!("{}/?Action=connect&DBUser={}&X-Amz-", wire.address(), world.database().user);
        let tokens = seen.iter().filter(|(_, token)| token.starts_with(&start)).count();
        // Of those who are asked at once, the slower ones are left before they have logged in.
        assert!(
            tokens > 0 && tokens as u64 <= wire.connections(),
            "{tokens} for {}: {seen:?}",
            wire.address()
        );
        all += tokens;
    }
    assert_eq!((all, world.secrets.count()), (seen.len(), 0));
}

async fn world(judge: &Judge) -> World {
    setup(judge).start().await
}

/// A function that logs in by tokens, on a server of its own that has them judged.
pub(crate) fn setup(judge: &Judge) -> Setup {
    let server = Arc::new(Postgres::builder().access(&judge.access()).start().unwrap());
    Setup::new(Engine::Postgres).on(&server).iam()
}

/// Judges passwords over LDAP: notes them and finds all of them right, or all wrong.
#[derive(Debug)]
pub(crate) struct Judge {
    port: u16,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Judge {
    pub(crate) fn start(accepts: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        // Ends with the process, like the thread of every connection.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let notes = Arc::clone(&notes);
                std::thread::spawn(move || serve(connection.unwrap(), accepts, &notes));
            }
        });
        Self { port, seen }
    }

    /// The line of `pg_hba.conf` that asks it.
    fn access(&self) -> String {
        format!(
            "hostssl all all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"user=\" ldapsuffix=\"\"",
            self.port
        )
    }

    /// Users and passwords, in order.
    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers a simple BindRequest: <https://www.rfc-editor.org/rfc/rfc4511#section-4.2>.
fn serve(mut connection: TcpStream, accepts: bool, notes: &Mutex<Vec<(String, String)>>) {
    let (_, message) = read(&mut connection);
    let mut message = message.as_slice();
    let (_, id) = read(&mut message);
    let (_, request) = read(&mut message);
    let mut request = request.as_slice();
    let (_version, (_, name), (_, password)) = (read(&mut request), read(&mut request), read(&mut request));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    notes.lock().unwrap().push((text(name).replace("user=", ""), text(password)));
    // LDAPMessage, its id, and in a BindResponse: the code (0, or 49 for invalid credentials) and two empty texts.
    let code = if accepts { 0 } else { 49 };
    let length = u8::try_from(2 + id.len() + 9).unwrap();
    let mut answer = vec![0x30, length, 0x02, u8::try_from(id.len()).unwrap()];
    answer.extend(id);
    answer.extend([0x61, 7, 0x0a, 1, code, 0x04, 0, 0x04, 0]);
    connection.write_all(&answer).unwrap();
    // Until the client has left.
    let _ = connection.read(&mut [0; 64]);
}

/// One element in BER: tag and content.
fn read(from: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    from.read_exact(&mut head).unwrap();
    let [tag, length] = head;
    let mut length = usize::from(length);
    if length >= 0x80 {
        let mut bytes = vec![0; length - 0x80];
        from.read_exact(&mut bytes).unwrap();
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    }
    let mut content = vec![0; length];
    from.read_exact(&mut content).unwrap();
    (tag, content)
}

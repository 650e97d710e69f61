//! The client's side of SCRAM-SHA-256, without channel binding. <https://www.rfc-editor.org/rfc/rfc5802>
//!
//! The exchange of `postgres-protocol` hashes the password anew at every login: thousands of rounds, which are most of what
//! a reconnect costs. Here the salted password is kept, and the rounds are ring's, as TLS's hashes are.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization as _;

/// The mechanism's name.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

/// The most rounds of hashing that a server may ask for: a second of one processor. PostgreSQL's default is 4,096, and
/// what is recommended for passwords that people choose is 600,000.
const MOST_ROUNDS: u32 = 1_000_000;

/// The salted password of the last login. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Salted(Arc<Mutex<Option<Kept>>>);

type Key = SecretBox<[u8; 32]>;

struct Kept {
    password: SecretString,
    salt: Vec<u8>,
    rounds: NonZeroU32,
    key: Arc<Key>,
}

impl Salted {
    /// The password with this salt: the kept one, or hashed now, on a thread of its own, since the runtime may have other
    /// sessions to serve. `None` if that thread has died.
    async fn of(&self, password: &SecretString, salt: &[u8], rounds: NonZeroU32) -> Option<Arc<Key>> {
        if let Some(key) = self.kept(password, salt, rounds) {
            return Some(key);
        }
        let (kept, password, salt) = (self.clone(), password.clone(), salt.to_vec());
        tokio::task::spawn_blocking(move || {
            let key = Arc::new(hashed(&password, &salt, rounds));
            let fresh = Kept { password, salt, rounds, key: Arc::clone(&key) };
            *kept.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
            key
        })
        .await
        .ok()
    }

    fn kept(&self, password: &SecretString, salt: &[u8], rounds: NonZeroU32) -> Option<Arc<Key>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&Kept| {
            kept.salt == salt
                && kept.rounds == rounds
                && kept.password.expose_secret() == password.expose_secret()
        };
        kept.as_ref().filter(same).map(|kept| Arc::clone(&kept.key))
    }
}

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salted(…)")
    }
}

/// `Hi` of the RFC.
fn hashed(password: &SecretString, salt: &[u8], rounds: NonZeroU32) -> Key {
    let password = password.expose_secret();
    let prepared = prepared(password);
    let bytes = prepared.as_ref().map_or(password, |it| it.expose_secret()).as_bytes();
    SecretBox::init_with_mut(|key: &mut [u8; 32]| {
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, bytes, key);
    })
}

/// SASLprep as PostgreSQL does it (`pg_saslprep` in its `common/saslprep.c`), which looks for what is prohibited before it
/// normalizes, and not after. `None` where that leaves the password as it is: it is ASCII, a character is prohibited, or
/// nothing would be left.
fn prepared(password: &str) -> Option<SecretString> {
    if password.is_ascii() {
        return None;
    }
    let space = |c| if tables::non_ascii_space_character(c) { ' ' } else { c };
    let mapped = password.chars().map(space).filter(|c| !tables::commonly_mapped_to_nothing(*c));
    let (first, last) = (mapped.clone().next()?, mapped.clone().next_back()?);
    let to_the_left = tables::bidi_r_or_al;
    let both_ways = mapped.clone().any(to_the_left)
        && (!to_the_left(first) || !to_the_left(last) || mapped.clone().any(tables::bidi_l));
    if both_ways || mapped.clone().any(prohibited) {
        return None;
    }
    Some(mapped.nfkc().collect::<String>().into())
}

fn prohibited(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// An exchange that has begun.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Our first words, without the header that says that there is no channel binding.
    bare: String,
    nonce: String,
}

/// What the server must sign, to be one that knows the password.
#[derive(Debug)]
pub(crate) struct Expected {
    key: hmac::Key,
    signed: String,
}

impl Exchange {
    /// `None` if there is no randomness to be had.
    pub(crate) fn begin() -> Option<Self> {
        let mut random = [0; 18];
        SystemRandom::new().fill(&mut random).ok()?;
        let nonce = STANDARD.encode(random);
        // PostgreSQL goes by the startup message's user.
        Some(Self { bare: format!("n=,r={nonce}"), nonce })
    }

    /// Our first words.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the server's first words: with the proof that we know the password.
    ///
    /// # Errors
    /// What is wrong with those words, without a secret in it.
    pub(crate) async fn answer(
        self,
        said: &[u8],
        password: &SecretString,
        salted: &Salted,
    ) -> Result<(String, Expected), String> {
        let said = std::str::from_utf8(said).map_err(|_| "its words are not UTF-8")?;
        let Asked { nonce, salt, rounds } = Asked::read(said)?;
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err("its nonce does not go on from ours".to_owned());
        }
        let rounds =
            NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= MOST_ROUNDS).ok_or_else(|| {
                format!("it asks for {rounds} rounds of hashing (scram_iterations), of at most {MOST_ROUNDS}")
            })?;
        let salted = salted.of(password, &salt, rounds).await.ok_or("the hashing was stopped")?;
        let (proof, expected) = prove(&salted, &self.bare, said, nonce);
        Ok((format!("c={NO_BINDING},r={nonce},p={}", STANDARD.encode(proof)), expected))
    }
}

impl Expected {
    /// Judges the server's last words.
    ///
    /// # Errors
    /// What is wrong with them: then the server does not know the password.
    pub(crate) fn judge(&self, said: &[u8]) -> Result<(), String> {
        let said = std::str::from_utf8(said).map_err(|_| "its words are not UTF-8")?;
        if let Some(error) = said.strip_prefix("e=") {
            return Err(format!("it says `{}`", error.escape_debug()));
        }
        let signature = said.strip_prefix("v=").map(|value| value.split(',').next().unwrap_or_default());
        let signature = signature.and_then(|value| STANDARD.decode(value).ok());
        let signs = |signature: Vec<u8>| hmac::verify(&self.key, self.signed.as_bytes(), &signature).is_ok();
        if signature.is_some_and(signs) {
            Ok(())
        } else {
            Err("it does not prove that it knows the password".to_owned())
        }
    }
}

/// The server's first words.
struct Asked<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    rounds: u32,
}

impl<'a> Asked<'a> {
    fn read(said: &'a str) -> Result<Self, String> {
        let mut parts = said.split(',');
        let mut part = |name: &str| {
            let value = parts.next().and_then(|part| part.strip_prefix(name)?.strip_prefix('='));
            value.ok_or_else(|| format!("its first words have no `{name}` where it belongs"))
        };
        let (nonce, salt, rounds) = (part("r")?, part("s")?, part("i")?);
        let salt = STANDARD.decode(salt).map_err(|_| "its salt is not base64")?;
        let rounds = rounds.parse().map_err(|_| "its number of rounds is none")?;
        Ok(Self { nonce, salt, rounds })
    }
}

fn prove(salted: &Key, bare: &str, said: &str, nonce: &str) -> ([u8; 32], Expected) {
    let signed = format!("{bare},{said},c={NO_BINDING},r={nonce}");
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client = mac(salted.expose_secret(), b"Client Key");
    let stored = digest::digest(&digest::SHA256, client.as_ref());
    let signature = mac(stored.as_ref(), signed.as_bytes());
    let server = mac(salted.expose_secret(), b"Server Key");
    let mut proof = [0; 32];
    for (proof, (key, sign)) in proof.iter_mut().zip(client.as_ref().iter().zip(signature.as_ref())) {
        *proof = key ^ sign;
    }
    (proof, Expected { key: hmac::Key::new(hmac::HMAC_SHA256, server.as_ref()), signed })
}

/// `n,,` in base64.
const NO_BINDING: &str = "biws";

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange() -> Exchange {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        Exchange { bare: format!("n=user,r={nonce}"), nonce }
    }

    #[tokio::test]
    async fn the_example_of_the_rfc() {
        let salted = Salted::default();
        let password = SecretString::from("pencil");
        // Hashed, and then kept.
        for _ in 0..2 {
            let (answer, expected) = exchange().answer(SAID.as_bytes(), &password, &salted).await.unwrap();
            assert_eq!(
                answer,
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            assert_eq!(expected.judge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
            for said in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", "v=?", "", "e=other-error"] {
                assert!(expected.judge(said.as_bytes()).is_err(), "{said}");
            }
        }
    }

    #[tokio::test]
    async fn what_was_salted_is_kept_for_this_password_salt_and_number_alone() {
        let salted = Salted::default();
        let (password, rounds) = (SecretString::from("s3cret"), NonZeroU32::new(2).unwrap());
        let key = salted.of(&password, b"salt", rounds).await.unwrap();
        let kept = salted.kept(&password, b"salt", rounds).unwrap();
        assert!(Arc::ptr_eq(&key, &kept));
        assert!(salted.kept(&password, b"Salt", rounds).is_none());
        assert!(salted.kept(&password, b"salt", NonZeroU32::MIN).is_none());
        assert!(salted.kept(&SecretString::from("other"), b"salt", rounds).is_none());
        // Neither is shown.
        assert_eq!(format!("{salted:?}"), "Salted(…)");
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.expose_secret())));
    }

    #[tokio::test]
    async fn a_server_that_asks_for_what_is_no_scram_is_told_so() {
        for (said, reason) in [
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=2147483648", "2147483648 rounds"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=1000001", "at most 1000000"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=0", "0 rounds"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=-1", "its number of rounds is none"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=99999999999", "its number of rounds is none"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096", "its salt is not base64"),
            // Our own nonce alone, and another's.
            ("r=rOprNGfwEbeRWgbNEkqO,s=c2FsdA==,i=4096", "its nonce"),
            ("r=other,s=c2FsdA==,i=4096", "its nonce"),
            // An extension that we do not know must be refused.
            ("m=x,r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4096", "no `r`"),
            ("", "no `r`"),
            ("\u{0}", "no `r`"),
        ] {
            let outcome = exchange().answer(said.as_bytes(), &"pencil".into(), &Salted::default()).await;
            let told = outcome.unwrap_err();
            assert!(told.contains(reason), "{said}: {told}");
        }
        assert!(exchange().answer(b"\xff", &"pencil".into(), &Salted::default()).await.is_err());
    }
}

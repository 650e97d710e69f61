//! A reply that is sent while it is written: the application writes at one end, the [`Outlet`], and whoever sends takes at
//! the other, the [`Inlet`].
//!
//! What stands between the two is bounded, so that an application whose reply nobody takes waits, and with it the server
//! that the rows come from. Only the end never waits: what is left then is small, and the session must not be held by a
//! reader.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Fault, Result};
use crate::reply::Raised;

/// What comes before the body of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// For HTTP: status, headers and cookies, as JSON.
    /// <https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html>
    pub prelude: Option<Vec<u8>>,
    /// The media type of the whole.
    pub content_type: &'static str,
}

/// The application's end. A clone is the same end.
#[derive(Debug, Clone)]
pub struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: mpsc::Sender<Part>,
    end: Mutex<Option<oneshot::Sender<End>>>,
    begun: AtomicBool,
    /// Bytes of the body.
    sent: AtomicU64,
    /// What stands at the end of a reply that has failed.
    last_words: Mutex<Vec<u8>>,
    http_apis: bool,
}

#[derive(Debug)]
enum Part {
    Head(Head),
    Bytes(Bytes),
}

/// What a reply ends with.
#[derive(Debug, Default)]
struct End {
    rest: Vec<u8>,
    failure: Option<Raised>,
}

/// The end of whoever sends.
#[derive(Debug)]
pub struct Inlet {
    parts: mpsc::Receiver<Part>,
    /// Until it is known.
    end: Option<oneshot::Receiver<End>>,
    /// What is left of the end.
    last: End,
}

/// Both ends of one reply.
#[must_use]
pub fn channel() -> (Outlet, Inlet) {
    between(false)
}

/// The same for somebody who takes a stream from an HTTP API as well, which in AWS buffers all.
#[must_use]
pub fn channel_of_any_http() -> (Outlet, Inlet) {
    between(true)
}

fn between(http_apis: bool) -> (Outlet, Inlet) {
    let ((parts, taken), (end, ended)) = (mpsc::channel(BETWEEN), oneshot::channel());
    let shared = Shared {
        parts,
        end: Mutex::new(Some(end)),
        begun: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        last_words: Mutex::default(),
        http_apis,
    };
    (Outlet(Arc::new(shared)), Inlet { parts: taken, end: Some(ended), last: End::default() })
}

impl Outlet {
    /// Whether something has been given that cannot be taken back.
    pub(crate) fn begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether the reply to an HTTP API may be a stream.
    pub(crate) fn http_apis(&self) -> bool {
        self.0.http_apis
    }

    /// How many bytes of the body were given before its end.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Gives a part of the body, behind the head if it is the first, and waits until there is room for it.
    ///
    /// # Errors
    /// [`Fault::ClientClosedRequest`] if nobody takes it any more.
    pub(crate) async fn send(&self, head: &Head, bytes: Vec<u8>) -> Result<()> {
        let length = bytes.len() as u64;
        if !self.0.begun.swap(true, Ordering::Relaxed) {
            self.0.parts.send(Part::Head(head.clone())).await.map_err(|_| gone())?;
        }
        self.0.parts.send(Part::Bytes(bytes.into())).await.map_err(|_| gone())?;
        self.0.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a reply that is whole.
    pub(crate) fn whole(&self, head: Head, body: Vec<u8>) {
        self.0.begun.store(true, Ordering::Relaxed);
        // There is room for one, and if nobody takes it the rest is told of that.
        let _ = self.0.parts.try_send(Part::Head(head));
        self.finish(body);
    }

    /// Gives the rest of the body. All of it was well.
    pub(crate) fn finish(&self, rest: Vec<u8>) {
        self.end(End { rest, failure: None });
    }

    /// What the body of a reply that has failed is to end with.
    pub(crate) fn leave_last_words(&self, words: Vec<u8>) {
        *self.0.last_words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Breaks off a reply that has begun, and says why.
    pub(crate) fn break_off(&self, failure: Raised) {
        let rest = std::mem::take(&mut *self.0.last_words.lock().unwrap_or_else(PoisonError::into_inner));
        self.end(End { rest, failure: Some(failure) });
    }

    fn end(&self, end: End) {
        if let Some(sender) = self.0.end.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = sender.send(end);
        }
    }
}

impl Inlet {
    /// Waits for the reply to begin. `None` if it does not: then the application has another reply, or none.
    pub async fn head(&mut self) -> Option<Head> {
        match self.parts.recv().await? {
            Part::Head(head) => Some(head),
            Part::Bytes(_) => None,
        }
    }

    /// The next part of the body, behind the head. `None` at its end.
    ///
    /// # Errors
    /// Why the reply was broken off, behind everything that there is of it.
    pub async fn next(&mut self) -> Option<Result<Bytes, Raised>> {
        while let Some(end) = &mut self.end {
            let ended = tokio::select! {
                biased;
                part = self.parts.recv() => match part {
                    Some(Part::Bytes(bytes)) => return Some(Ok(bytes)),
                    Some(Part::Head(_)) => continue,
                    None => end.await,
                },
                ended = &mut *end => ended,
            };
            self.end = None;
            self.last = ended.unwrap_or_else(|_| End { rest: Vec::new(), failure: Some(abandoned()) });
        }
        // What stands before the end was given before it: by another thread, maybe since it was looked for.
        while let Ok(part) = self.parts.try_recv() {
            if let Part::Bytes(bytes) = part {
                return Some(Ok(bytes));
            }
        }
        match std::mem::take(&mut self.last.rest) {
            rest if rest.is_empty() => self.last.failure.take().map(Err),
            rest => Some(Ok(rest.into())),
        }
    }

    /// The body behind the head: [`next`](Self::next) as a stream, whose last item may be why it was broken off.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Raised>> + Send {
        futures_util::stream::unfold(self, |mut inlet| async { inlet.next().await.map(|part| (part, inlet)) })
    }
}

/// The application has ended without an end.
fn abandoned() -> Raised {
    Raised { code: Fault::Internal.code(), message: Fault::Internal.advice().to_owned() }
}

#[cold]
fn gone() -> Error {
    Error::new(Fault::ClientClosedRequest, "")
}

/// How many parts may wait: the head, and a part behind it.
const BETWEEN: usize = 2;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn head() -> Head {
        Head { prelude: None, content_type: "application/json" }
    }

    async fn all(mut inlet: Inlet) -> (String, Option<Raised>) {
        let mut text = String::new();
        while let Some(part) = inlet.next().await {
            match part {
                Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(raised) => {
                    assert!(inlet.next().await.is_none());
                    return (text, Some(raised));
                }
            }
        }
        (text, None)
    }

    #[tokio::test]
    async fn who_writes_waits_for_who_takes_and_the_end_does_not() {
        let (outlet, mut inlet) = channel();
        outlet.send(&head(), b"a".to_vec()).await.unwrap();
        assert!(outlet.send(&head(), b"b".to_vec()).now_or_never().is_none());
        assert_eq!(inlet.head().await, Some(head()));
        outlet.send(&head(), b"c".to_vec()).await.unwrap();
        outlet.finish(b"d".to_vec());
        assert_eq!(all(inlet).await, ("acd".to_owned(), None));
        assert_eq!((outlet.begun(), outlet.sent()), (true, 2));
    }

    #[tokio::test]
    async fn a_reply_that_fails_has_last_words_and_a_reason() {
        let (outlet, mut inlet) = channel();
        outlet.send(&head(), b"a".to_vec()).await.unwrap();
        outlet.leave_last_words(b"!".to_vec());
        let why = Raised { code: "timeout", message: "late".to_owned() };
        outlet.break_off(why.clone());
        inlet.head().await.unwrap();
        assert_eq!(all(inlet).await, ("a!".to_owned(), Some(why)));
    }

    #[tokio::test]
    async fn what_nobody_has_ended_has_failed_and_what_has_not_begun_is_none() {
        let (outlet, mut inlet) = channel();
        drop(outlet);
        assert_eq!(inlet.head().await, None);
        let (outlet, mut inlet) = channel();
        outlet.send(&head(), b"a".to_vec()).await.unwrap();
        drop(outlet);
        inlet.head().await.unwrap();
        let (text, failure) = all(inlet).await;
        assert_eq!((text.as_str(), failure.unwrap().code), ("a", "internal"));
    }

    #[tokio::test]
    async fn who_has_left_takes_nothing() {
        let (outlet, inlet) = channel();
        drop(inlet);
        assert_eq!(
            outlet.send(&head(), b"a".to_vec()).await.unwrap_err().fault(),
            Fault::ClientClosedRequest
        );
    }

    /// As `serve` has it, where writing and sending are tasks of their own.
    #[test]
    fn nothing_is_lost_between_threads() {
        for turn in 0..5_000_u32 {
            let (outlet, mut inlet) = channel();
            let looked = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&looked);
            outlet.send(&head(), Vec::new()).now_or_never().unwrap().unwrap();
            let written = std::thread::spawn(move || {
                while !seen.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                for _ in 0..turn % 64 {
                    std::hint::spin_loop();
                }
                outlet.send(&head(), b"a".to_vec()).now_or_never().unwrap().unwrap();
                outlet.finish(b"!".to_vec());
            });
            let waker = futures_util::task::noop_waker();
            let mut context = std::task::Context::from_waker(&waker);
            inlet.head().now_or_never().unwrap().unwrap();
            let _ = inlet.next().now_or_never();
            looked.store(true, Ordering::Release);
            let mut text = String::new();
            loop {
                let next = std::pin::pin!(inlet.next()).poll(&mut context);
                match next {
                    std::task::Poll::Ready(Some(part)) => {
                        text.push_str(std::str::from_utf8(&part.unwrap()).unwrap())
                    }
                    std::task::Poll::Ready(None) => break,
                    std::task::Poll::Pending => {}
                }
            }
            assert_eq!(text, "a!", "{turn}");
            written.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_whole_reply() {
        let (outlet, mut inlet) = channel();
        outlet.whole(head(), b"all".to_vec());
        assert_eq!(inlet.head().await, Some(head()));
        assert_eq!(all(inlet).await, ("all".to_owned(), None));
    }
}

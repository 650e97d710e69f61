//! One session over a wire, whatever the engine: [`Live`] is what the engines have in common, a [`Protocol`] is what
//! differs. Whether sea-orm's driver may have the wire for a while, its [`Keeper`] decides.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::answers::Answers;
use crate::backend::{Access, CancelHandle, Effect, Frame, Session, State, Statement};
use crate::connect::wire::Wire;
use crate::describe::Described;
use crate::error::Result;

/// How an engine speaks on a wire once it is logged in.
///
/// Methods that fail leave it to [`Protocol::state`] and [`Protocol::owed`] what the session is good for. They are
/// documented at [`Session`]'s.
pub trait Protocol: fmt::Debug + Send + Sync + Sized + 'static {
    /// [`Session::run`].
    fn run(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::announce`].
    fn announce(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        access: Access,
        shortest: Duration,
    ) -> impl Future<Output = Result<Vec<Effect>>> + Send;

    /// [`Session::effect`].
    fn effect(&mut self, wire: &mut Wire, sql: &str) -> impl Future<Output = Result<Effect>> + Send;

    /// [`Session::ask`].
    fn ask(
        &mut self,
        wire: &mut Wire,
        sql: &str,
    ) -> impl Future<Output = Result<Vec<Vec<Option<String>>>>> + Send;

    /// [`Session::describe`].
    fn describe(
        &mut self,
        wire: &mut Wire,
        statement: &Statement,
    ) -> impl Future<Output = Result<Described>> + Send;

    /// [`Session::begin`].
    fn begin(&mut self, wire: &mut Wire, access: Access) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::commit`].
    fn commit(&mut self, wire: &mut Wire) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::rollback`].
    fn rollback(&mut self, wire: &mut Wire) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::autocommit`].
    fn autocommit(&mut self, wire: &mut Wire, write: bool) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::ping`].
    fn ping(&mut self, wire: &mut Wire) -> impl Future<Output = Result<()>> + Send;

    /// [`Session::pins`].
    fn pins(&self, statement: &Statement) -> bool;

    /// What the server has said last of the session's state. [`State::Closed`] if its settings are not ours any more.
    fn state(&self) -> State;

    /// Whether the server has been asked something that it has not answered to the end.
    fn owed(&self) -> bool;

    /// The message that takes leave of the server.
    fn goodbye(&self) -> &'static [u8];

    /// [`Session::cancel_handle`].
    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>>;
}

/// What keeps a session's wire: the wire itself, or the door through which sea-orm's driver may have it for a while.
pub trait Keeper<P: Protocol>: From<Wire> + fmt::Debug + Send + 'static {
    /// The wire, on which all has been answered that others have asked.
    ///
    /// # Errors
    /// [`Fault::ConnectionLost`](crate::error::Fault::ConnectionLost) if it cannot be had back.
    fn ours(&mut self, protocol: &mut P) -> impl Future<Output = Result<&mut Wire>> + Send;

    /// The wire, for a goodbye; `None` if there is nobody to hear it.
    fn into_wire(self, protocol: &mut P) -> impl Future<Output = Option<Wire>> + Send;

    /// Whether the connection is known to be gone.
    fn closed(&self) -> bool;

    /// The same, if it has been heard: the system is not asked.
    fn ended(&self) -> bool {
        self.closed()
    }

    /// The flights of the wire; `None` while others have it.
    fn flights(&self) -> Option<u64>;

    /// What the server has said last of the session's state, to whoever has the wire.
    fn state(&self, protocol: &P) -> State;

    /// [`Session::orm`].
    #[cfg(feature = "sea-orm")]
    fn orm(_live: &mut Live<P, Self>) -> Option<&mut dyn crate::backend::Orm> {
        None
    }
}

impl<P: Protocol> Keeper<P> for Wire {
    async fn ours(&mut self, _protocol: &mut P) -> Result<&mut Wire> {
        Ok(self)
    }

    async fn into_wire(self, _protocol: &mut P) -> Option<Wire> {
        Some(self)
    }

    fn closed(&self) -> bool {
        Wire::closed(self)
    }

    fn ended(&self) -> bool {
        Wire::ended(self)
    }

    fn flights(&self) -> Option<u64> {
        Some(Wire::flights(self))
    }

    fn state(&self, protocol: &P) -> State {
        protocol.state()
    }
}

/// One live connection: a protocol on its wire.
pub struct Live<P: Protocol, K: Keeper<P>> {
    pub(super) protocol: P,
    pub(super) wire: K,
}

impl<P: Protocol, K: Keeper<P>> Live<P, K> {
    /// A session that is logged in, and on which all has been answered.
    #[must_use]
    pub fn new(protocol: P, wire: Wire) -> Self {
        Self { protocol, wire: wire.into() }
    }
}

impl<P: Protocol, K: Keeper<P>> Session for Live<P, K> {
    fn run<'a>(
        &'a mut self,
        frame: Frame,
        statements: &'a [&'a Statement],
        answers: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.run(wire, frame, statements, answers).await
        })
    }

    fn announce<'a>(
        &'a mut self,
        statements: &'a [&'a Statement],
        access: Access,
        shortest: Duration,
    ) -> BoxFuture<'a, Result<Vec<Effect>>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.announce(wire, statements, access, shortest).await
        })
    }

    fn effect<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Effect>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.effect(wire, sql).await
        })
    }

    fn ask<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.ask(wire, sql).await
        })
    }

    fn describe<'a>(&'a mut self, statement: &'a Statement) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.describe(wire, statement).await
        })
    }

    fn begin(&mut self, access: Access) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.begin(wire, access).await
        })
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.commit(wire).await
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.rollback(wire).await
        })
    }

    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.autocommit(wire, write).await
        })
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let wire = self.wire.ours(&mut self.protocol).await?;
            self.protocol.ping(wire).await
        })
    }

    fn pins(&self, statement: &Statement) -> bool {
        self.protocol.pins(statement)
    }

    fn flights(&self) -> Option<u64> {
        self.wire.flights()
    }

    fn state(&self) -> State {
        if self.wire.closed() { State::Closed } else { self.heard() }
    }

    fn heard(&self) -> State {
        if self.protocol.owed() || self.wire.ended() {
            State::Closed
        } else {
            self.wire.state(&self.protocol)
        }
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        self.protocol.cancel_handle()
    }

    #[cfg(feature = "sea-orm")]
    fn orm(&mut self) -> Option<&mut dyn crate::backend::Orm> {
        K::orm(self)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { mut protocol, wire } = *self;
            if let Some(mut wire) = wire.into_wire(&mut protocol).await {
                // In the middle of an answer nothing that is said would be understood.
                if !protocol.owed() {
                    wire.output().extend_from_slice(protocol.goodbye());
                    wire.close().await;
                }
            }
        })
    }
}

impl<P: Protocol, K: Keeper<P>> fmt::Debug for Live<P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("protocol", &self.protocol).field("wire", &self.wire).finish()
    }
}

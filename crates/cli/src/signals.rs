//! What asks the command to end: each has a `recv`.

#[cfg(unix)]
mod of_platform {
    use std::io::Result;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Ctrl-C.
    pub(crate) fn interrupt() -> Result<Signal> {
        signal(SignalKind::interrupt())
    }

    /// What whoever started it sends.
    pub(crate) fn terminate() -> Result<Signal> {
        signal(SignalKind::terminate())
    }
}

#[cfg(windows)]
mod of_platform {
    use std::io::Result;

    use tokio::signal::windows::{CtrlC, CtrlClose, ctrl_c, ctrl_close};

    /// Ctrl-C.
    pub(crate) fn interrupt() -> Result<CtrlC> {
        ctrl_c()
    }

    /// The console's window is closed.
    pub(crate) fn terminate() -> Result<CtrlClose> {
        ctrl_close()
    }
}

pub(crate) use of_platform::{interrupt, terminate};

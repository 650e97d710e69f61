//! The application, made anew when a query file has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lambda_rds::app::App;
use lambda_rds::config::{Config, Function};

use crate::failure::{Failure, note};

/// The application of the query files as they are.
pub(crate) struct Live {
    config: Config,
    state: Mutex<State>,
}

struct State {
    app: Arc<App>,
    /// The files that it was made of, or that were wrong since.
    files: Files,
}

/// Name, time of change and length of each query file.
type Files = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl Live {
    /// Makes the first application.
    pub(crate) fn start(mut config: Config) -> Result<Self, Failure> {
        let files = files(&config.function.queries);
        let app = start(&config).map_err(Failure::Setup)?;
        // Told once is enough.
        config.warnings.clear();
        let state = Mutex::new(State { app: Arc::new(app), files });
        Ok(Self { config, state })
    }

    /// The application, without a look at the files.
    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(&self.state().app)
    }

    /// The application of the files as they are now. Where one of them is wrong, that is told once, and the last
    /// application goes on.
    pub(crate) fn current(&self) -> Arc<App> {
        let now = files(&self.config.function.queries);
        let mut state = self.state();
        if state.files != now {
            state.files = now;
            match start(&self.config) {
                Ok(app) => {
                    // What the old one still runs holds it; its sessions close with it.
                    state.app = Arc::new(app);
                    note("the query files have changed and were read again");
                }
                Err(reason) => {
                    note(&format!(
                        "the query files have changed, and the last ones are served on:\n{reason}"
                    ));
                }
            }
        }
        Arc::clone(&state.app)
    }

    /// How the function is set.
    pub(crate) fn function(&self) -> &Function {
        &self.config.function
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole whenever the lock is free, even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(config: &Config) -> Result<App, String> {
    let (backend, topology) = (lambda_rds::backend(config.db.engine), lambda_rds::topology(&config.db));
    App::start(config.clone(), backend, topology).map_err(|error| error.to_string())
}

/// A handful of questions to the file system per request, of which nobody notices anything.
fn files(folder: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "sql")
            && let Ok(metadata) = entry.metadata()
        {
            files.push((path, metadata.modified().ok(), metadata.len()));
        }
    }
    files.sort();
    files
}

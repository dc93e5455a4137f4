//! The search for the interpreter, which may begin before anybody asks: while the workspace is opened, another processor looks at the
//! standard library.
//!
//! in: candidates, the state of this user; out: the [`Interpreter`], found once a process.
//! **Invariant:** what is kept is what was found; a search that failed is made again by whoever asks, and says why.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::error::EnvironmentError;
use super::interpreter::Interpreter;
use super::memo::find_interpreter_remembered;

type Searching = JoinHandle<Result<Interpreter, EnvironmentError>>;

/// A search, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Search(Arc<State>);

#[derive(Debug, Default)]
struct State {
    begun: Mutex<Option<Searching>>,
    found: OnceLock<Interpreter>,
}

impl Search {
    /// Begins to look, on a thread of its own.
    #[must_use]
    pub fn begin(candidates: Vec<PathBuf>, memo_dir: PathBuf) -> Self {
        let search = Self::default();
        let thread = std::thread::Builder::new().name("interpreter".to_owned());
        // without the thread whoever asks looks himself
        let begun = thread.spawn(move || find_interpreter_remembered(&candidates, &memo_dir)).ok();
        *search.0.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
        search
    }

    /// The first of `candidates` that is a CPython 3.9 or later.
    pub fn interpreter(&self, candidates: &[PathBuf], memo_dir: &Path) -> Result<Interpreter, EnvironmentError> {
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.0.found.get() {
            return Ok(found.clone());
        }
        let found = match begun.take().map(JoinHandle::join) {
            Some(Ok(Ok(found))) => found,
            Some(Ok(Err(_)) | Err(_)) | None => find_interpreter_remembered(candidates, memo_dir)?,
        };
        Ok(self.0.found.get_or_init(|| found).clone())
    }
}

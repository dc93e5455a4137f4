//! Keyless workers: every file that nobody vouches for is read in a process of its own, which can do nothing else.
//!
//! in: a [`Job`](seaworthy_core::ports::Job); out: an [`Answer`](seaworthy_core::worker::Answer), or a fault of the file.
//! `pool` starts them, `line` talks to one, `wire` is how, `desk` is the worker's side of it, `perform` what it does there.
//! **Invariant:** one worker does one job and is gone: what a file does to its worker touches no other file.
//! **Invariant:** nothing that a worker says is believed beyond the files of its job, and nothing but an answer of the closed
//! shape gets out of it: no descriptor, no second answer, no answer to something else.

mod desk;
mod line;
mod perform;
mod pool;
mod wire;

pub use desk::Desk;
pub use perform::{SendPart, perform};
pub use pool::Pool;

/// The exit code, if this process was started as a worker: then it did one job. To be called in `main` before anything else is
/// read or opened, after the sandbox's own first lines.
#[must_use]
pub fn started_as_worker() -> Option<u8> {
    seaworthy_sandbox::worker::is_worker().then(|| {
        let served = Desk::open().and_then(|mut desk| {
            let Some((request, files)) = desk.receive()? else { return Ok(()) };
            let answer = perform(&request, files, &mut |kind, bytes| desk.part(kind, bytes))?;
            desk.answer(answer)
        });
        // nobody is left to tell: who started it sees that there was no answer
        u8::from(served.is_err())
    })
}

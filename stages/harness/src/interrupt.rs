//! SIGINT and SIGTERM: the running stage saves its checkpoint and stops; a second signal ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The user asked the stage to stop; what was computed so far is checkpointed. A stage that keeps less says so in an error
/// of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; finished work is kept, run the same command again to go on")]
pub struct Interrupted;

/// Installs the handler. Calling it a second time changes nothing.
pub fn listen() {
    let installed = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        eprintln!("stopping after the work at hand (once more: stop now)");
    });
    if let Err(error) = installed {
        eprintln!(
            "warning: signals are not watched ({error}); an interrupt ends the stage at its last checkpoint"
        );
    }
}

/// Whether the user asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error once the user asked to stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if is_requested() { Err(Interrupted) } else { Ok(()) }
}

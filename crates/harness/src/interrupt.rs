//! SIGINT and SIGTERM: the running stage saves its checkpoint and stops; a second signal ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use delt_pipeline::watch::Interrupted;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Calling it a second time changes nothing.
pub fn listen() {
    let installed = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        eprintln!("finishing the current step; press Ctrl-C again to stop now");
    });
    if let Err(error) = installed {
        eprintln!(
            "warning: signals are not watched ({error}); an interrupt stops the stage at its last checkpoint"
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

//! Who watches long work: it is told of every finished unit, and may ask the work to stop.

/// The user asked the stage to stop; what was computed so far is checkpointed. A stage that keeps less says so in an error
/// of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; finished work is saved, run the same command again to resume")]
pub struct Interrupted;

/// Told of finished work by a library that knows no terminal.
pub trait Watch {
    /// Counts `n` finished units.
    ///
    /// # Errors
    /// [`Interrupted`] once the user asked to stop; the caller saves its state before it passes this on.
    fn advance(&self, n: u64) -> Result<(), Interrupted>;

    /// A line that the user must see.
    fn say(&self, line: &str);
}

/// Nobody watches.
impl Watch for () {
    fn advance(&self, _: u64) -> Result<(), Interrupted> {
        Ok(())
    }

    fn say(&self, _: &str) {}
}

//! Memory of a thread that is kept from call to call.

use std::cell::RefCell;

use crate::plan::Scratch;

/// What a thread computes with.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) scratch: Scratch,
    /// Values between two steps.
    pub(crate) values: Vec<f32>,
    /// Room that is not in use.
    pub(crate) free: Vec<Vec<f32>>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Runs something with this thread's memory, whose contents are whatever was left there.
pub(crate) fn with_memory<T>(run: impl FnOnce(&mut Memory) -> T) -> T {
    // taken out, so that work which is stolen in between finds new memory
    let mut memory = MEMORY.take();
    let result = run(&mut memory);
    MEMORY.set(memory);
    result
}

/// So many values of whatever was left there.
pub(crate) fn room(values: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if values.len() < count {
        values.resize(count, 0.0);
    }
    &mut values[..count]
}

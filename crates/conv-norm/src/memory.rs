//! Memory that is kept from call to call: that of a thread, and large values that come and go with every step. Clearing it anew
//! each time takes one thread longer than two threads need for some convolutions.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::filters::LANES;
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

/// Values from one of several planes to the next, for so many values in each: an odd number of cache lines, so that values at the
/// same place of all planes, which are written and read together, do not share a few places of the cache.
pub(crate) fn apart(values: usize) -> usize {
    (values.div_ceil(LANES) | 1) * LANES
}

/// Values that were given back, the last at the end.
static GIVEN_BACK: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// So many are kept at most, none of fewer values than that.
const MOST_GIVEN_BACK: usize = 8;
const LEAST_GIVEN_BACK: usize = 1 << 16;

/// Values that lie ready for the next when they are dropped.
#[derive(Debug)]
pub(crate) struct Lent(Vec<f32>);

impl Lent {
    /// So many values of whatever was left there.
    pub(crate) fn new(count: usize) -> Self {
        let mut given = GIVEN_BACK.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |values: &Vec<f32>| (count..=count + count / 4).contains(&values.len());
        let found = given.iter().rposition(fits).map(|at| given.remove(at));
        drop(given);
        let mut values = found.unwrap_or_else(|| vec![0.0; count]);
        values.truncate(count);
        Self(values)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        if values.len() < LEAST_GIVEN_BACK {
            return;
        }
        let mut given = GIVEN_BACK.lock().unwrap_or_else(PoisonError::into_inner);
        given.push(values);
        let oldest = (given.len() > MOST_GIVEN_BACK).then(|| given.remove(0));
        drop(given);
        drop(oldest);
    }
}

impl Clone for Lent {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Deref for Lent {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

//! Frozen blocks one after another: a task takes a few images through many of them, while what lies between stays in the cache.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::frozen::FrozenConvNorm;
use crate::memory::{Memory, room, with_memory};
use crate::plan::{Direction, Plan};
use crate::shape::ConvShape;

/// Values that a thread's cache holds.
const CACHED_VALUES: usize = 1 << 17;

/// Values per value of images in tiles: frequencies of inputs and outputs, of tiles of four.
const OF_TILES: usize = 3;

/// One block of a chain. Values are numbered: 0 enters the chain, the n-th block makes value n.
#[derive(Clone, Debug)]
pub struct Link {
    /// What is computed.
    pub block: Arc<FrozenConvNorm>,
    /// The value that enters.
    pub reads: usize,
    /// The value that is added before the activation.
    pub adds: Option<usize>,
}

/// Blocks one after another, for their last result alone.
#[derive(Debug)]
pub struct FrozenChain {
    links: Vec<Link>,
    /// The last block that reads a value, by value.
    last_reads: Vec<usize>,
    /// For the images that came last.
    ready: Mutex<Option<Arc<Ready>>>,
}

/// A chain for images of some shape.
#[derive(Debug)]
struct Ready {
    input: [usize; 4],
    shapes: Vec<ConvShape>,
    stages: Vec<Stage>,
    out: [usize; 4],
}

/// Blocks through which a task takes its images.
#[derive(Debug)]
struct Stage {
    links: Range<usize>,
    tasks: usize,
    plans: Vec<Plan>,
}

impl FrozenChain {
    /// Each block reads and adds values that are there before it.
    pub fn new(links: Vec<Link>) -> Self {
        let mut last_reads = vec![0; links.len() + 1];
        for (at, link) in links.iter().enumerate() {
            for value in [Some(link.reads), link.adds].into_iter().flatten() {
                last_reads[value] = at;
            }
        }
        Self { links, last_reads, ready: Mutex::default() }
    }

    /// Blocks.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// `x`: `[n, h, w, c]`; the last result and its shape.
    pub(crate) fn run(&self, input: [usize; 4], x: &[f32]) -> (Vec<f32>, [usize; 4]) {
        let ready = self.ready_for(input);
        let images = input[0];
        let mut from: Option<Vec<f32>> = None;
        for stage in &ready.stages {
            let x = from.as_deref().unwrap_or(x);
            let last = stage.links.end - 1;
            let result: usize = self.links[last].block.result(&ready.shapes[last])[1..].iter().product();
            let mut y = vec![0.0; images * result];
            let mut rest = y.as_mut_slice();
            let tasks: Vec<_> = (0..stage.tasks)
                .map(|task| {
                    let [first, end] = [task, task + 1].map(|at| at * images / stage.tasks);
                    let values = x.len() / images;
                    let (y, after) = std::mem::take(&mut rest).split_at_mut((end - first) * result);
                    rest = after;
                    (&x[first * values..end * values], y)
                })
                .collect();
            tasks
                .into_par_iter()
                .for_each(|(x, y)| with_memory(|memory| self.task(&ready, stage, x, y, memory)));
            from = Some(y);
        }
        (from.unwrap_or_else(|| x.to_vec()), ready.out)
    }

    fn task(&self, ready: &Ready, stage: &Stage, x: &[f32], y: &mut [f32], memory: &mut Memory) {
        let Memory { scratch, values: z, free } = memory;
        let (first, images) = (stage.links.start, x.len() / ready.shapes[stage.links.start].input_values());
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(stage.links.len());
        for at in stage.links.clone() {
            let Link { block, reads, adds } = &self.links[at];
            let shape = &ready.shapes[at];
            let count = images * block.result(shape)[1..].iter().product::<usize>();
            let mut made = if at + 1 < stage.links.end { free.pop().unwrap_or_default() } else { Vec::new() };
            let out = if at + 1 < stage.links.end { room(&mut made, count) } else { &mut *y };
            let value = |value: usize, count: usize| match value - first {
                0 => x,
                before => &values[before - 1][..count],
            };
            let residual = adds.map_or(&[][..], |added| value(added, count));
            let x = value(*reads, images * shape.input_values());
            block.infer((shape, &stage.plans[at - first]), x, residual, out, (z, scratch));
            values.push(made);
            for read in [Some(*reads), *adds].into_iter().flatten() {
                if read > first && self.last_reads[read] == at {
                    free.push(std::mem::take(&mut values[read - first - 1]));
                }
            }
        }
        free.extend(values.into_iter().filter(|values| values.capacity() > 0));
    }

    fn ready_for(&self, input: [usize; 4]) -> Arc<Ready> {
        let lock = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock().as_ref().filter(|ready| ready.input == input).map(Arc::clone);
        found.unwrap_or_else(|| {
            // not under the lock: a thread that waits for others may take up work that asks for it
            let ready = Arc::new(self.prepare(input));
            *lock() = Some(Arc::clone(&ready));
            ready
        })
    }

    fn prepare(&self, input: [usize; 4]) -> Ready {
        let mut shapes = Vec::new();
        let mut values = vec![input];
        for link in &self.links {
            let shape = link.block.shape(values[link.reads]);
            link.block.pack(&shape);
            values.push(link.block.result(&shape));
            shapes.push(shape);
        }
        let stages = self.stages(input[0], &shapes, &values);
        Ready { input, stages, shapes, out: values[values.len() - 1] }
    }

    /// Cuts where a single value leads on and where the images of a task become other in number: as many as fit into the cache,
    /// and enough for filters to be worth their fetching.
    fn stages(&self, images: usize, shapes: &[ConvShape], values: &[[usize; 4]]) -> Vec<Stage> {
        let mut cuts: Vec<(Range<usize>, [usize; 2])> = Vec::new();
        let together = |[a, b]: [[usize; 2]; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        let of_task = |[fitting, least]: [usize; 2]| fitting.max(least);
        let (mut first, mut own) = (0, [usize::MAX, 1]);
        for (at, shape) in shapes.iter().enumerate() {
            let fitting = (CACHED_VALUES / self.values_at(at, shape, values)).max(1);
            own = together([own, [fitting, shape.images_per_task()]]);
            if at + 1 < self.links.len() && self.last_reads[..=at].iter().any(|last| *last > at) {
                continue;
            }
            let count = of_task(own);
            let is_alike = |before: usize| count < 2 * before && before < 2 * count;
            match cuts.last_mut().filter(|(_, before)| is_alike(of_task(*before))) {
                Some((links, before)) => (links.end, *before) = (at + 1, together([*before, own])),
                None => cuts.push((first..at + 1, own)),
            }
            (first, own) = (at + 1, [usize::MAX, 1]);
        }
        let stage = |(links, own): (Range<usize>, [usize; 2])| {
            // an even number, of nearly one size
            let tasks = images.div_ceil(of_task(own)).next_multiple_of(2).clamp(1, images.max(1));
            let largest = images.div_ceil(tasks).max(1);
            let plan = |shape| Plan::of_tasks(shape, Direction::Forward, largest);
            Stage { plans: shapes[links.clone()].iter().map(plan).collect(), links, tasks }
        };
        cuts.into_iter().map(stage).collect()
    }

    /// Values of an image that a block needs at a time, those that wait for later ones among them.
    fn values_at(&self, at: usize, shape: &ConvShape, values: &[[usize; 4]]) -> usize {
        let waiting = (0..=at).filter(|value| self.last_reads[*value] >= at);
        let waiting: usize = waiting.map(|value| values[value][1..].iter().product::<usize>()).sum();
        let own = shape.input_values() + shape.output_values();
        waiting + own * if Plan::of_tasks(shape, Direction::Forward, 1).is_in_tiles() { OF_TILES } else { 1 }
    }
}

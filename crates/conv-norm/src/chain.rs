//! Frozen blocks and gates one after another: a task takes a few images through many of them, while what lies between stays in the cache.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::frozen::FrozenConvNorm;
use crate::memory::{Lent, Memory, room, with_memory};
use crate::plan::{Direction, Plan};
use crate::shape::ConvShape;
use crate::squeeze::FrozenSqueeze;

/// Values that a thread's cache holds.
const CACHED_VALUES: usize = 1 << 17;

/// Values per value of images in tiles: frequencies of inputs and outputs, of tiles of four.
const OF_TILES: usize = 3;

/// What a link of a chain computes.
#[derive(Clone, Debug)]
pub enum Part {
    /// A block.
    Block(Arc<FrozenConvNorm>),
    /// A factor for each channel.
    Squeeze(Arc<FrozenSqueeze>),
}

/// One link of a chain. Values are numbered: 0 enters the chain, the n-th link makes value n.
#[derive(Clone, Debug)]
pub struct Link {
    /// What is computed.
    pub part: Part,
    /// The value that enters.
    pub reads: usize,
    /// The value that a block adds before the activation.
    pub adds: Option<usize>,
}

impl Part {
    /// The convolutions of such images.
    fn shapes(&self, input: [usize; 4]) -> Vec<ConvShape> {
        match self {
            Self::Block(block) => vec![block.shape(input)],
            Self::Squeeze(squeeze) => squeeze.shapes(input).to_vec(),
        }
    }

    /// Shape of what is made of such images, `[n, h, w, c]`.
    fn result(&self, input: [usize; 4], shapes: &[ConvShape]) -> [usize; 4] {
        match self {
            Self::Block(block) => block.result(&shapes[0]),
            Self::Squeeze(_) => input,
        }
    }

    fn pack(&self, shapes: &[ConvShape]) {
        match self {
            Self::Block(block) => block.pack(&shapes[0]),
            Self::Squeeze(squeeze) => squeeze.pack(shapes),
        }
    }
}

/// Links one after another, for their last result alone.
#[derive(Debug)]
pub struct FrozenChain {
    links: Vec<Link>,
    /// The last link that reads a value, by value.
    last_reads: Vec<usize>,
    /// For the images that came last.
    ready: Mutex<Option<Arc<Ready>>>,
}

/// A chain for images of some shape.
#[derive(Debug)]
struct Ready {
    /// Shapes of all values.
    values: Vec<[usize; 4]>,
    /// The convolutions of each link.
    shapes: Vec<Vec<ConvShape>>,
    stages: Vec<Stage>,
}

impl Ready {
    /// An image's part of a value.
    fn count(&self, value: usize) -> usize {
        count(self.values[value])
    }
}

/// Values of an image.
fn count(shape: [usize; 4]) -> usize {
    shape[1..].iter().product()
}

/// Room that something lay in, for what comes later; none where it has been taken over.
fn give_back(memory: &mut Memory, values: Vec<f32>) {
    if values.capacity() > 0 {
        memory.free.push(values);
    }
}

/// Links through which a task takes its images.
#[derive(Debug)]
struct Stage {
    links: Range<usize>,
    tasks: usize,
    /// Of the convolutions of each link.
    plans: Vec<Vec<Plan>>,
}

impl FrozenChain {
    /// Each link reads and adds values that are there before it.
    pub fn new(links: Vec<Link>) -> Self {
        let mut last_reads = vec![0; links.len() + 1];
        for (at, link) in links.iter().enumerate() {
            for value in [Some(link.reads), link.adds].into_iter().flatten() {
                last_reads[value] = at;
            }
        }
        Self { links, last_reads, ready: Mutex::default() }
    }

    /// Links.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is no link.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// `x`: `[n, h, w, c]`; the last result and its shape.
    pub(crate) fn run(&self, input: [usize; 4], x: &[f32]) -> (Vec<f32>, [usize; 4]) {
        let ready = self.ready_for(input);
        let images = input[0];
        let result = ready.count(self.links.len());
        let mut out = vec![0.0; images * result];
        // what lies between stages, by turns in one of two places
        let between = |turn: usize| {
            let ends = ready.stages.iter().map(|stage| stage.links.end).skip(turn).step_by(2);
            ends.filter(|end| *end < self.links.len()).map(|end| images * ready.count(end)).max().unwrap_or(0)
        };
        let mut memory = Lent::new(between(0) + between(1));
        let (mut to, mut from) = memory.split_at_mut(between(0));
        for (at, stage) in ready.stages.iter().enumerate() {
            let x = if at == 0 { x } else { &from[..images * ready.count(stage.links.start)] };
            let y = if stage.links.end == self.links.len() {
                &mut out[..]
            } else {
                &mut to[..images * ready.count(stage.links.end)]
            };
            self.stage(&ready, stage, images, x, y);
            std::mem::swap(&mut from, &mut to);
        }
        (out, ready.values[self.links.len()])
    }

    fn stage(&self, ready: &Ready, stage: &Stage, images: usize, x: &[f32], mut y: &mut [f32]) {
        let [values, result] = [stage.links.start, stage.links.end].map(|value| ready.count(value));
        let tasks: Vec<_> = (0..stage.tasks)
            .map(|task| {
                let [first, end] = [task, task + 1].map(|at| at * images / stage.tasks);
                let part = y.split_off_mut(..(end - first) * result).expect("as many results as images");
                (&x[first * values..end * values], part)
            })
            .collect();
        tasks.into_par_iter().for_each(|(x, y)| with_memory(|memory| self.task(ready, stage, x, y, memory)));
    }

    fn task(&self, ready: &Ready, stage: &Stage, x: &[f32], y: &mut [f32], memory: &mut Memory) {
        let (first, images) = (stage.links.start, x.len() / ready.count(stage.links.start));
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(stage.links.len());
        for (at, plans) in stage.links.clone().zip(&stage.plans) {
            let Link { part, reads, adds } = &self.links[at];
            let is_last = at + 1 == stage.links.end;
            let is_done = |read: usize| read > first && self.last_reads[read] == at;
            // in the place of what it reads, if nothing else does
            let is_in_place = matches!(part, Part::Squeeze(_)) && is_done(*reads) && !is_last;
            let mut made = match (is_last, is_in_place) {
                (true, _) => Vec::new(),
                (_, true) => std::mem::take(&mut values[reads - first - 1]),
                _ => memory.free.pop().unwrap_or_default(),
            };
            let out = if is_last { &mut *y } else { room(&mut made, images * ready.count(at + 1)) };
            let value = |value: usize| match value - first {
                0 => x,
                before => &values[before - 1][..images * ready.count(value)],
            };
            let (shapes, work) = (&ready.shapes[at], (&mut memory.values, &mut memory.scratch));
            match part {
                Part::Block(block) => {
                    let residual = adds.map_or(&[][..], value);
                    block.infer((&shapes[0], &plans[0]), value(*reads), residual, out, work);
                }
                Part::Squeeze(squeeze) => {
                    if !is_in_place {
                        out.copy_from_slice(value(*reads));
                    }
                    squeeze.run((shapes, plans), out, ready.count(at + 1), work);
                }
            }
            values.push(made);
            for read in [Some(*reads), *adds].into_iter().flatten().filter(|read| is_done(*read)) {
                give_back(memory, std::mem::take(&mut values[read - first - 1]));
            }
        }
        values.into_iter().for_each(|values| give_back(memory, values));
    }

    fn ready_for(&self, input: [usize; 4]) -> Arc<Ready> {
        let lock = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock().as_ref().filter(|ready| ready.values[0] == input).map(Arc::clone);
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
        for Link { part, reads, .. } in &self.links {
            let input = values[*reads];
            let own = part.shapes(input);
            part.pack(&own);
            values.push(part.result(input, &own));
            shapes.push(own);
        }
        let stages = self.stages(input[0], &shapes, &values);
        Ready { values, shapes, stages }
    }

    /// Cuts where a single value leads on and where the images of a task become other in number: as many as fit into the cache,
    /// and enough for filters to be worth their fetching.
    fn stages(&self, images: usize, shapes: &[Vec<ConvShape>], values: &[[usize; 4]]) -> Vec<Stage> {
        let mut cuts: Vec<(Range<usize>, [usize; 2])> = Vec::new();
        let together = |[a, b]: [[usize; 2]; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        let of_task = |[fitting, least]: [usize; 2]| fitting.max(least);
        let (mut first, mut own) = (0, [usize::MAX, 1]);
        for (at, shapes) in shapes.iter().enumerate() {
            let fitting = (CACHED_VALUES / self.values_at(at, &shapes[0], values)).max(1);
            let is_squeeze = |at: usize| matches!(self.links[at].part, Part::Squeeze(_));
            // the products of a squeeze are few
            let least = if is_squeeze(at) { 1 } else { shapes[0].images_per_task() };
            own = together([own, [fitting, least]]);
            if at + 1 < self.links.len() {
                let waits = self.last_reads[..=at].iter().any(|last| *last > at);
                if waits || is_squeeze(at) || is_squeeze(at + 1) {
                    continue;
                }
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
            let plans = shapes[links.clone()].iter().map(|shapes| shapes.iter().map(plan).collect());
            Stage { plans: plans.collect(), links, tasks }
        };
        cuts.into_iter().map(stage).collect()
    }

    /// Values of an image that a link needs at a time, those that wait for later ones among them.
    fn values_at(&self, at: usize, shape: &ConvShape, values: &[[usize; 4]]) -> usize {
        let waiting = (0..=at).filter(|value| self.last_reads[*value] >= at);
        let waiting: usize = waiting.map(|value| count(values[value])).sum();
        let own = shape.input_values() + shape.output_values();
        waiting + own * if Plan::of_tasks(shape, Direction::Forward, 1).is_in_tiles() { OF_TILES } else { 1 }
    }
}

//! How a convolution, or its gradient with respect to the input, is computed for a few images at a time.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::activation::After;
use crate::convolution::Convolution;
use crate::correlate::{Correlate, Pixel};
use crate::depthwise;
use crate::filters::{Filters, Weights};
use crate::memory::room;
use crate::shape::{ConvShape, Padded, Taps};
use crate::vectors::{run_by_lanes, with_vectors};
use crate::winograd::{self, F2, F4, Source, Tile, Tiling, Wide};

/// Where a correlation leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the input to the output.
    Forward,
    /// From the output's gradient to the input's.
    InputGradient,
}

/// The way from images to results.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The margin that it wants around its input.
    pub(crate) padded: Padded,
    /// Values of one resulting image, and channels.
    out_values: usize,
    out_channels: usize,
    /// Images of a full task.
    images: usize,
    pub(crate) way: Way,
}

#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Sums over the filter, for each phase at these pixels of the images of a full task.
    Direct(Vec<Vec<Pixel>>),
    /// The same with a filter for each channel.
    Depthwise(Vec<Vec<Pixel>>),
    Winograd(Tiling),
    /// One group of channels after another.
    Grouped(Box<Plan>),
}

/// The filters of a [`Plan`], packed, and its bias.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// For each phase of [`Way::Direct`]; one for [`Way::Winograd`]; those of all groups, one group after another.
    filters: Vec<Filters>,
    /// One per output channel, or none.
    bias: Vec<f32>,
}

impl Packed {
    /// From weights `[outputs, inputs / groups, kernel, kernel]`. The bias has no part in the gradient of the input.
    pub(crate) fn new(shape: &ConvShape, direction: Direction, weights: &[f32], bias: &[f32]) -> Self {
        let taps = Taps::of(shape.geometry, direction);
        let filters = if shape.is_depthwise() {
            let (channels, kernel) = (shape.outputs, shape.geometry.kernel);
            phases(&taps)
                .map(|[rows, columns]| {
                    Filters::depthwise(weights, channels, kernel, &rows.taps, &columns.taps)
                })
                .collect()
        } else {
            let group = &shape.group();
            weights
                .chunks_exact(group.weight_shape().iter().product())
                .flat_map(|weights| Self::filters(group, direction, weights, &taps))
                .collect()
        };
        let bias = if direction == Direction::Forward { bias.to_vec() } else { Vec::new() };
        Self { filters, bias }
    }

    /// Of a convolution without groups.
    fn filters(shape: &ConvShape, direction: Direction, weights: &[f32], taps: &[Taps]) -> Vec<Filters> {
        let weights = Weights::new(shape, direction, weights);
        let adjacent = shape.adjacent(direction);
        match Tiling::of(shape) {
            Some(tiling) => vec![Filters::winograd(&weights, tiling.tile)],
            None => phases(taps)
                .map(|[rows, columns]| Filters::direct(&weights, &rows.taps, &columns.taps, adjacent))
                .collect(),
        }
    }
}

/// Weights that are packed when they are first used: the way depends on the size of the images.
#[derive(Debug)]
pub(crate) struct PackedOnce {
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// By direction; filters as they are, for tiles of two, for tiles of four, for adjacent pixels.
    packed: [[OnceLock<Packed>; 4]; 2],
}

impl PackedOnce {
    /// `weights`: `[outputs, inputs / groups, kernel, kernel]`; `bias`: one per output, or none.
    pub(crate) fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        Self { weights, bias, packed: Default::default() }
    }

    /// The way of a batch of a shape.
    pub(crate) fn convolution(&self, shape: &ConvShape, direction: Direction) -> Convolution<'_> {
        let bias = if direction == Direction::Forward { self.bias.as_slice() } else { &[] };
        let packed = self.get(shape, direction);
        match Wide::of(shape, direction, Source::Packed(&packed.filters[0]), bias) {
            Some(wide) => Convolution::Whole(wide),
            None => Convolution::ByTasks(Cow::Borrowed(packed)),
        }
    }

    /// The filters for the tasks of a shape.
    pub(crate) fn get(&self, shape: &ConvShape, direction: Direction) -> &Packed {
        let way = match Tiling::of(&shape.group()).map(|tiling| tiling.tile) {
            None if shape.group().adjacent(direction) > 1 => 3,
            None => 0,
            Some(Tile::Two) => 1,
            Some(Tile::Four) => 2,
        };
        self.packed[direction as usize][way]
            .get_or_init(|| Packed::new(shape, direction, &self.weights, &self.bias))
    }
}

/// Pairs of residues that have taps.
fn phases(taps: &[Taps]) -> impl Iterator<Item = [&Taps; 2]> {
    let pairs = taps.iter().flat_map(move |rows| taps.iter().map(move |columns| [rows, columns]));
    pairs.filter(|pair| pair.iter().all(|taps| !taps.taps.is_empty()))
}

/// Memory of one thread, reused from task to task.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) padded: Vec<f32>,
    pub(crate) work: Work,
}

/// What of it is used behind the padding.
#[derive(Default)]
pub(crate) struct Work {
    winograd: winograd::Scratch,
    /// Images and results of one group of channels.
    group: [Vec<f32>; 2],
}

impl Plan {
    /// The gradient of the input has one correlation for each pair of residues of the stride.
    pub(crate) fn new(shape: &ConvShape, direction: Direction) -> Self {
        Self::of_tasks(shape, direction, shape.images_per_task())
    }

    /// For tasks of up to so many images.
    pub(crate) fn of_tasks(shape: &ConvShape, direction: Direction, images: usize) -> Self {
        let mut sizes =
            [[shape.height, shape.width, shape.inputs], [shape.out_height, shape.out_width, shape.outputs]];
        if direction == Direction::InputGradient {
            sizes.reverse();
        }
        let [from, to] = sizes;
        let (out_values, out_channels) = (to.iter().product(), to[2]);
        if shape.geometry.groups > 1 && !shape.is_depthwise() {
            let way = Way::Grouped(Box::new(Self::of_tasks(&shape.group(), direction, images)));
            return Self { padded: Padded::new(from, [0, 0]), out_values, out_channels, images, way };
        }
        if let Some(tiling) = Tiling::of(shape) {
            let (padded, way) = (tiling.padded(from[2]), Way::Winograd(tiling));
            return Self { padded, out_values, out_channels, images, way };
        }
        let taps = Taps::of(shape.geometry, direction);
        let (mut before, mut after) = (0, 0);
        for taps in &taps {
            for (from, to) in from.into_iter().zip(to).take(2) {
                for (_, first) in taps.positions(to) {
                    before = before.max(-first);
                    after = after.max(first + taps.taps.len() as isize - from as isize);
                }
            }
        }
        let padded = Padded::new(from, [before as usize, after as usize]);
        let adjacent = if shape.is_depthwise() { 1 } else { shape.adjacent(direction) };
        // the last group of a row overlaps the one before
        let starts_group = |x: usize| {
            let end = x + adjacent;
            end == to[1] || end < to[1] && x.is_multiple_of(adjacent)
        };
        let pixels = |[rows, columns]: [&Taps; 2]| {
            let mut pixels = Vec::new();
            for image in 0..images {
                for (y, from_y) in rows.positions(to[0]) {
                    for (x, from_x) in columns.positions(to[1]).filter(|(x, _)| starts_group(*x)) {
                        let inside = padded.at((from_y + before) as usize, (from_x + before) as usize);
                        pixels.push(Pixel {
                            from: image * padded.values() + inside,
                            to: image * out_values + (y * to[1] + x) * to[2],
                        });
                    }
                }
            }
            pixels
        };
        let pixels = phases(&taps).map(pixels).collect();
        let way = if shape.is_depthwise() { Way::Depthwise(pixels) } else { Way::Direct(pixels) };
        Self { padded, out_values, out_channels, images, way }
    }

    /// Whether it goes through frequencies.
    pub(crate) fn is_in_tiles(&self) -> bool {
        matches!(self.way, Way::Winograd(_))
    }

    /// Runs it on the images of one task.
    pub(crate) fn run(&self, packed: &Packed, images: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        self.run_then(packed, images, out, None, scratch);
    }

    /// The same with something done to the results.
    pub(crate) fn run_then(
        &self,
        Packed { filters, bias }: &Packed,
        images: &[f32],
        out: &mut [f32],
        after: Option<After<'_>>,
        scratch: &mut Scratch,
    ) {
        let Scratch { padded, work } = scratch;
        self.correlate(filters, bias, self.padded.pad(images, padded), out, after, work);
    }

    /// The same in the place of the images, whose results are as large.
    pub(crate) fn run_in_place(&self, packed: &Packed, images: &mut [f32], scratch: &mut Scratch) {
        let Scratch { padded, work } = scratch;
        self.run_padded(packed, self.padded.copied(images, padded), images, work);
    }

    /// Filters W below filters Ẇ, for [`Self::run_pair`]; none where it has no way of its own.
    pub(crate) fn stack(&self, weight: &Packed, dot: &Packed) -> Option<Filters> {
        self.is_in_tiles().then(|| dot.filters[0].above(&weight.filters[0]))
    }

    /// `first = W ⋆ a` unless it is empty, `second = W ⋆ b + Ẇ ⋆ a` for the images of one task, without bias. `both`:
    /// of [`Self::stack`].
    pub(crate) fn run_pair(
        &self,
        weight: &Packed,
        both: &Filters,
        [a, b]: [&[f32]; 2],
        out: [&mut [f32]; 2],
        [scratch, other]: [&mut Scratch; 2],
    ) {
        let Way::Winograd(tiling) = &self.way else { return };
        let pair = [self.padded.pad(a, &mut scratch.padded), self.padded.pad(b, &mut other.padded)];
        let filters = [&weight.filters[0], both];
        match tiling.tile {
            Tile::Two => scratch.work.winograd.convolve_pair::<F2, 2, 4>(tiling, filters, pair, out),
            Tile::Four => scratch.work.winograd.convolve_pair::<F4, 4, 6>(tiling, filters, pair, out),
        }
    }

    /// Runs it on the images of one task, in their margins.
    pub(crate) fn run_padded(
        &self,
        Packed { filters, bias }: &Packed,
        input: &[f32],
        out: &mut [f32],
        work: &mut Work,
    ) {
        self.correlate(filters, bias, input, out, None, work);
    }

    fn correlate(
        &self,
        filters: &[Filters],
        bias: &[f32],
        input: &[f32],
        out: &mut [f32],
        after: Option<After<'_>>,
        work: &mut Work,
    ) {
        let row_stride = self.padded.row();
        let images = out.len() / self.out_values;
        let part = |pixels: &Vec<Pixel>| pixels.len() / self.images * images;
        match &self.way {
            Way::Winograd(tiling) => match tiling.tile {
                Tile::Two => work.winograd.convolve::<F2, 2, 4>(tiling, &filters[0], bias, input, out),
                Tile::Four => work.winograd.convolve::<F4, 4, 6>(tiling, &filters[0], bias, input, out),
            },
            Way::Direct(phases) => {
                for (pixels, filters) in phases.iter().zip(filters) {
                    let pixels = &pixels[..part(pixels)];
                    run_by_lanes(Correlate {
                        filters,
                        wanted: [0, filters.outputs],
                        plane: 0,
                        bias,
                        input,
                        row_stride,
                        pixels,
                        out,
                        after,
                    });
                }
                return;
            }
            Way::Depthwise(phases) => {
                for (pixels, filters) in phases.iter().zip(filters) {
                    let pixels = &pixels[..part(pixels)];
                    depthwise::Correlate { filters, bias, input, row_stride, pixels, out, after }.run();
                }
                return;
            }
            Way::Grouped(plan) => {
                plan.correlate_groups(self.padded.inner[2], filters, bias, input, out, work);
            }
        }
        if let Some(after) = after {
            with_vectors!({ after.apply(0, out) });
        }
    }

    /// Each group by itself, of images with so many channels; `self` is the plan of one.
    fn correlate_groups(
        &self,
        channels: usize,
        filters: &[Filters],
        bias: &[f32],
        input: &[f32],
        out: &mut [f32],
        work: &mut Work,
    ) {
        let inner = self.padded.inner;
        let groups = channels / inner[2];
        let values = inner.iter().product::<usize>() * groups;
        let images = input.len() / values;
        let outputs = self.out_channels;
        for (group, filters) in filters.chunks_exact(filters.len() / groups).enumerate() {
            let [mut from, mut to] = std::mem::take(&mut work.group);
            let padded = self.padded.with_margins(images, &mut from);
            for (image, padded) in
                input.chunks_exact(values).zip(padded.chunks_exact_mut(self.padded.values()))
            {
                let rows = image.chunks_exact(inner[1] * channels);
                for (row, padded) in rows.zip(self.padded.inner_rows(padded)) {
                    copy_channels(row, [channels, group * inner[2]], padded, [inner[2], 0], inner[2]);
                }
            }
            let made = room(&mut to, images * self.out_values);
            // the gradient of the input does not lead everywhere
            made.fill(0.0);
            let bias = bias.get(group * outputs..).map_or(&[][..], |bias| &bias[..outputs.min(bias.len())]);
            self.correlate(filters, bias, padded, made, None, work);
            copy_channels(made, [outputs, 0], out, [groups * outputs, group * outputs], outputs);
            work.group = [from, to];
        }
    }
}

/// Copies so many channels of every pixel; `from` and `to` have so many channels, and the copied ones begin at so many.
pub(crate) fn copy_channels(
    from: &[f32],
    [from_channels, from_first]: [usize; 2],
    to: &mut [f32],
    [to_channels, to_first]: [usize; 2],
    channels: usize,
) {
    for (from, to) in from.chunks_exact(from_channels).zip(to.chunks_exact_mut(to_channels)) {
        to[to_first..][..channels].copy_from_slice(&from[from_first..][..channels]);
    }
}

//! Sizes of a convolution, and what follows from them: tasks, output pixels, margins, taps.

use crate::filters::LANES;
use crate::memory::room;
use crate::plan::Direction;
use crate::winograd::{Tile, Tiling};

/// Output pixels that one task computes at least: images too small for that are taken several at a time.
const PIXELS_PER_TASK: usize = 64;

/// The same where tiles are computed: they are the rows of matrix products.
const TILES_PER_TASK: usize = 48;

/// Products of channels from which on tiles go into two tasks at least: one would leave a thread idle for long.
const LARGE_FILTERS: usize = 1 << 16;

/// Channels between which the gradient of a precise convolution's input goes through the largest tiles.
const WIDE: usize = 64;

/// How a filter moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the square filter.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
    /// Groups of channels that do not see each other; with as many as input and as output channels, a depthwise filter.
    pub groups: usize,
}

impl Geometry {
    /// Side of the output for an input of side `size`.
    pub fn out_size(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// Images.
    pub(crate) images: usize,
    /// Input height.
    pub(crate) height: usize,
    /// Input width.
    pub(crate) width: usize,
    /// Input channels.
    pub(crate) inputs: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// The filter.
    pub(crate) geometry: Geometry,
    /// Output height.
    pub(crate) out_height: usize,
    /// Output width.
    pub(crate) out_width: usize,
    /// Larger tiles save more work and round worse.
    pub(crate) largest_tile: Tile,
}

impl ConvShape {
    /// `input`: `[n, h, w, c]`.
    pub(crate) fn new(input: [usize; 4], outputs: usize, geometry: Geometry) -> Self {
        let [images, height, width, inputs] = input;
        Self {
            images,
            height,
            width,
            inputs,
            outputs,
            geometry,
            out_height: geometry.out_size(height),
            out_width: geometry.out_size(width),
            largest_tile: Tile::Four,
        }
    }

    /// The same, rounded about as by direct sums.
    pub(crate) fn precise(self) -> Self {
        Self { largest_tile: Tile::Two, ..self }
    }

    /// For the gradient of the input between so many channels that tiles of four take less time than tiles of two: how it rounds
    /// decides no sign, since gates follow values that are stored.
    pub(crate) fn of_input_gradient(self) -> Self {
        let is_wide = self.inputs.min(self.outputs) >= WIDE;
        Self { largest_tile: if is_wide { Tile::Four } else { self.largest_tile }, ..self }
    }

    /// Whether every channel has a filter of its own.
    pub(crate) fn is_depthwise(&self) -> bool {
        let groups = self.geometry.groups;
        groups > 1 && [self.inputs, self.outputs] == [groups; 2]
    }

    /// The convolution of one group.
    pub(crate) fn group(&self) -> Self {
        let groups = self.geometry.groups;
        let geometry = Geometry { groups: 1, ..self.geometry };
        Self { inputs: self.inputs / groups, outputs: self.outputs / groups, geometry, ..*self }
    }

    /// Pixels of a row whose channels fill a block of lanes, on the way to few channels: a filter that makes them together has
    /// a few columns more, with zeros.
    pub(crate) fn adjacent(&self, direction: Direction) -> usize {
        let pixels = (LANES / self.inputs).max(1);
        let is_narrow = self.geometry.stride == 1 && self.width >= pixels;
        if is_narrow && direction == Direction::InputGradient { pixels } else { 1 }
    }

    /// Whether the gradient of the input can take the place of the output's: as large, and written everywhere.
    pub(crate) fn is_reversible_in_place(&self) -> bool {
        self.geometry.stride == 1 && self.input_values() == self.output_values()
    }

    /// Shape of the filters, `[outputs, inputs / groups, kernel, kernel]`.
    pub(crate) fn weight_shape(&self) -> [usize; 4] {
        let Geometry { kernel, groups, .. } = self.geometry;
        [self.outputs, self.inputs / groups, kernel, kernel]
    }

    /// Values of one input image.
    pub(crate) fn input_values(&self) -> usize {
        self.height * self.width * self.inputs
    }

    /// Output pixels of one image.
    pub(crate) fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Values of one output image.
    pub(crate) fn output_values(&self) -> usize {
        self.out_pixels() * self.outputs
    }

    /// Values of a row of an output image.
    pub(crate) fn out_row(&self) -> usize {
        self.out_width * self.outputs
    }

    /// Images of one task. It depends on sizes only, never on the number of threads: sums are taken per task.
    pub(crate) fn images_per_task(&self) -> usize {
        let Some(tiling) = Tiling::of(&self.group()) else {
            return PIXELS_PER_TASK.div_ceil(self.out_pixels()).clamp(1, self.images.max(1));
        };
        // an even number of tasks of nearly one size
        let tasks = self.images * tiling.count() / TILES_PER_TASK;
        let least = if self.has_large_filters() { 2 } else { 1 };
        let tasks = (tasks / 2 * 2).max(least);
        self.images.div_ceil(tasks).max(1)
    }

    /// Whether filters do not fit in the cache of a core at all frequencies.
    pub(crate) fn has_large_filters(&self) -> bool {
        self.inputs * self.outputs >= LARGE_FILTERS
    }

    /// Values of the input images of one task.
    pub(crate) fn task_inputs(&self) -> usize {
        self.images_per_task() * self.input_values()
    }

    /// Values of the output images of one task.
    pub(crate) fn task_outputs(&self) -> usize {
        self.images_per_task() * self.output_values()
    }
}

/// Channels-last values with a margin of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    /// Height, width and channels without it.
    pub(crate) inner: [usize; 3],
    before: usize,
    height: usize,
    width: usize,
}

impl Padded {
    /// `inner`: height, width, channels; `margins`: before and after, the same in both directions.
    pub(crate) fn new(inner: [usize; 3], [before, after]: [usize; 2]) -> Self {
        Self { inner, before, height: inner[0] + before + after, width: inner[1] + before + after }
    }

    /// Values of one image with its margin.
    pub(crate) fn values(&self) -> usize {
        self.height * self.row()
    }

    /// Values from one row to the next.
    pub(crate) fn row(&self) -> usize {
        self.width * self.inner[2]
    }

    /// Place of a pixel, counted with the margin.
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        y * self.row() + x * self.inner[2]
    }

    /// The rows of the inner image in a buffer of [`Self::values`].
    pub(crate) fn inner_rows<'a>(&self, buffer: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> {
        let (start, length) = (self.at(0, self.before), self.inner[1] * self.inner[2]);
        buffer
            .chunks_exact_mut(self.row())
            .skip(self.before)
            .take(self.inner[0])
            .map(move |row| &mut row[start..start + length])
    }

    /// Images with their margins, one after another, in a buffer of whatever contents; the images
    /// themselves where there is no margin.
    pub(crate) fn pad<'a>(&self, images: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if self.has_margin() { self.copied(images, buffer) } else { images }
    }

    fn has_margin(&self) -> bool {
        [self.height, self.width] != [self.inner[0], self.inner[1]]
    }

    /// As [`Self::pad`], a copy in any case.
    pub(crate) fn copied<'a>(&self, images: &[f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let [height, width, channels] = self.inner;
        let values = height * width * channels;
        let count = images.len() / values;
        let buffer = self.with_margins(count, buffer);
        for (image, padded) in images.chunks_exact(values).zip(buffer.chunks_exact_mut(self.values())) {
            for (row, values) in self.inner_rows(padded).zip(image.chunks_exact(width * channels)) {
                row.copy_from_slice(values);
            }
        }
        buffer
    }

    /// Room for images with their margins, which are zero; between them is whatever was there.
    pub(crate) fn with_margins<'a>(&self, images: usize, buffer: &'a mut Vec<f32>) -> &'a mut [f32] {
        let buffer = room(buffer, images * self.values());
        if self.has_margin() {
            let (left, inner) = (self.at(0, self.before), self.inner[1] * self.inner[2]);
            for image in buffer.chunks_exact_mut(self.values()) {
                for (at, row) in image.chunks_exact_mut(self.row()).enumerate() {
                    if (self.before..self.before + self.inner[0]).contains(&at) {
                        row[..left].fill(0.0);
                        row[left + inner..].fill(0.0);
                    } else {
                        row.fill(0.0);
                    }
                }
            }
        }
        buffer
    }
}

/// Taps of a filter along one direction, and the positions between which a correlation with them leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taps {
    /// Taps, in the order of the values under them.
    pub(crate) taps: Vec<usize>,
    /// The first position that they lead to, and the step to the next.
    to: (usize, usize),
    /// Where the value under the first tap lies for that position, and the step to the next.
    from: (isize, isize),
}

impl Taps {
    /// From the input to the output, or one for each residue of the stride from the output's gradient to the input's.
    pub(crate) fn of(geometry: Geometry, direction: Direction) -> Vec<Self> {
        let Geometry { kernel, stride, padding, .. } = geometry;
        match direction {
            Direction::Forward => {
                let from = (-(padding as isize), stride as isize);
                vec![Self { taps: (0..kernel).collect(), to: (0, 1), from }]
            }
            Direction::InputGradient => {
                (0..stride).map(|residue| Self::to_inputs(geometry, residue)).collect()
            }
        }
    }

    /// The taps that lead to input positions `p ≡ residue (mod stride)`.
    ///
    /// Position `p` of the input lies under tap `t` of output `o` where `p = stride · o + t − padding`. Written from the
    /// last tap to the first, the outputs of one position follow one another.
    fn to_inputs(geometry: Geometry, residue: usize) -> Self {
        let Geometry { kernel, stride, padding, .. } = geometry;
        let taps: Vec<usize> = (0..kernel)
            .rev()
            .filter(|tap| (residue + padding + kernel * stride - tap).is_multiple_of(stride))
            .collect();
        let first_output = taps
            .first()
            .map_or(0, |tap| ((residue + padding) as isize - *tap as isize).div_euclid(stride as isize));
        Self { taps, to: (residue, stride), from: (first_output, 1) }
    }

    /// Positions below `size` that they lead to, each with that of the value under the first tap.
    pub(crate) fn positions(&self, size: usize) -> impl Iterator<Item = (usize, isize)> {
        let ((to, step), (from, from_step)) = (self.to, self.from);
        (0_isize..).zip((to..size).step_by(step)).map(move |(n, to)| (to, from + n * from_step))
    }
}

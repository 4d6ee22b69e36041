//! Sizes of a convolution, and what follows from them: output pixels, margins, phases of the gradient.

use crate::correlate::Pixel;

/// Output pixels that one task computes at least: images too small for that are taken several at a time.
const PIXELS_PER_TASK: usize = 64;

/// How a filter moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the square filter.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
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
        }
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

    /// Images of one task. It depends on sizes only, never on the number of threads: sums are taken per task.
    pub(crate) fn images_per_task(&self) -> usize {
        PIXELS_PER_TASK.div_ceil(self.out_pixels()).clamp(1, self.images.max(1))
    }

    /// The input with the zeros of the convolution around it.
    pub(crate) fn padded_input(&self) -> Padded {
        let padding = self.geometry.padding;
        Padded::new([self.height, self.width, self.inputs], [padding; 2])
    }

    /// The output pixels of `images` images over [`Self::padded_input`].
    pub(crate) fn pixels(&self, images: usize) -> Vec<Pixel> {
        let padded = self.padded_input();
        let stride = self.geometry.stride;
        let mut pixels = Vec::with_capacity(images * self.out_pixels());
        for image in 0..images {
            for y in 0..self.out_height {
                for x in 0..self.out_width {
                    let from = image * padded.values() + padded.at(y * stride, x * stride);
                    pixels.push(Pixel { from, to: pixels.len() * self.outputs });
                }
            }
        }
        pixels
    }
}

/// Channels-last values with a margin of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    inner: [usize; 3],
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

    /// Copies an image into a buffer whose margin is zero already.
    pub(crate) fn fill(&self, image: &[f32], buffer: &mut [f32]) {
        let length = self.inner[1] * self.inner[2];
        for (row, values) in self.inner_rows(buffer).zip(image.chunks_exact(length)) {
            row.copy_from_slice(values);
        }
    }
}

/// The taps of a filter that lead to input positions `p ≡ residue (mod stride)`, along one direction.
///
/// Position `p` of the input lies under tap `t` of output `o` where `p = stride · o + t − padding`. Written from the last
/// tap to the first, the outputs of one position follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taps {
    /// Taps, the last first.
    pub(crate) taps: Vec<usize>,
    /// The output under the first of them, for the smallest position of the residue.
    first_output: isize,
    residue: usize,
    stride: usize,
}

impl Taps {
    fn new(geometry: Geometry, residue: usize) -> Self {
        let Geometry { kernel, stride, padding } = geometry;
        let taps: Vec<usize> = (0..kernel)
            .rev()
            .filter(|tap| (residue + padding + kernel * stride - tap).is_multiple_of(stride))
            .collect();
        let first_output = taps
            .first()
            .map_or(0, |tap| ((residue + padding) as isize - *tap as isize).div_euclid(stride as isize));
        Self { taps, first_output, residue, stride }
    }

    /// One for each residue.
    pub(crate) fn of(geometry: Geometry) -> Vec<Self> {
        (0..geometry.stride).map(|residue| Self::new(geometry, residue)).collect()
    }

    /// Positions of the residue below `size`, with the output under their first tap.
    fn positions(&self, size: usize) -> impl Iterator<Item = (usize, isize)> {
        let first_output = self.first_output;
        (0_isize..)
            .zip((self.residue..size).step_by(self.stride))
            .map(move |(step, at)| (at, first_output + step))
    }
}

/// The gradient of a convolution with respect to its input: one correlation with the output's gradient for each pair of
/// residues of the stride.
#[derive(Clone, Debug)]
pub(crate) struct InputGradientPlan {
    /// The output's gradient with the margin that all phases need.
    pub(crate) padded: Padded,
    /// Rows and columns of taps with their pixels, for one task.
    pub(crate) phases: Vec<(Taps, Taps, Vec<Pixel>)>,
}

impl InputGradientPlan {
    pub(crate) fn new(shape: &ConvShape, images: usize) -> Self {
        let taps = Taps::of(shape.geometry);
        let sizes = [(shape.height, shape.out_height), (shape.width, shape.out_width)];
        let (mut before, mut after) = (0, 0);
        for taps in &taps {
            for (size, outputs) in sizes {
                for (_, first) in taps.positions(size) {
                    before = before.max(-first);
                    after = after.max(first + taps.taps.len() as isize - outputs as isize);
                }
            }
        }
        let margins = [before as usize, after as usize];
        let padded = Padded::new([shape.out_height, shape.out_width, shape.outputs], margins);
        let mut phases = Vec::new();
        for rows in &taps {
            for columns in &taps {
                if rows.taps.is_empty() || columns.taps.is_empty() {
                    continue;
                }
                let mut pixels = Vec::new();
                for image in 0..images {
                    for (y, from_y) in rows.positions(shape.height) {
                        for (x, from_x) in columns.positions(shape.width) {
                            let inside = padded.at((from_y + before) as usize, (from_x + before) as usize);
                            pixels.push(Pixel {
                                from: image * padded.values() + inside,
                                to: image * shape.input_values() + (y * shape.width + x) * shape.inputs,
                            });
                        }
                    }
                }
                phases.push((rows.clone(), columns.clone(), pixels));
            }
        }
        Self { padded, phases }
    }
}

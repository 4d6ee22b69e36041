//! How a convolution, or its gradient with respect to the input, is computed for a few images at a time.

use std::sync::OnceLock;

use pulp::Arch;

use crate::correlate::{Correlate, Pixel};
use crate::filters::Filters;
use crate::shape::{ConvShape, Padded, Taps};
use crate::winograd::{self, Tile, Tiling};

/// The way from padded images to results.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The margin that it wants around its input.
    pub(crate) padded: Padded,
    /// Values of one resulting image.
    out_values: usize,
    /// Images of a full task.
    images: usize,
    way: Direction,
}

#[derive(Clone, Debug)]
enum Direction {
    /// Sums over the filter, for each phase at these pixels of the images of a full task.
    Direct(Vec<Vec<Pixel>>),
    Winograd(Tiling),
}

/// The filters of a [`Plan`], packed.
#[derive(Clone, Debug)]
pub(crate) enum Packed {
    /// For each phase.
    Direct(Vec<Filters>),
    Winograd(Filters),
}

impl Packed {
    /// For [`Plan::forward`], from weights `[outputs, inputs, kernel, kernel]`.
    pub(crate) fn forward(shape: &ConvShape, weights: &[f32]) -> Self {
        let channels = [shape.outputs, shape.inputs];
        match Tiling::of(shape) {
            Some(tiling) => Self::Winograd(Filters::winograd(tiling.tile, weights, channels, false)),
            None => Self::Direct(vec![Filters::forward(weights, channels, shape.geometry.kernel)]),
        }
    }

    /// For [`Plan::input_gradient`].
    pub(crate) fn input_gradient(shape: &ConvShape, weights: &[f32]) -> Self {
        let channels = [shape.outputs, shape.inputs];
        match Tiling::of(shape) {
            Some(tiling) => Self::Winograd(Filters::winograd(tiling.tile, weights, channels, true)),
            None => Self::Direct(
                phases(&Taps::of(shape.geometry))
                    .map(|[rows, columns]| {
                        Filters::backward(weights, channels, shape.geometry.kernel, rows, columns)
                    })
                    .collect(),
            ),
        }
    }
}

/// Filters that are packed when they are first used: the way depends on the size of the images.
#[derive(Debug, Default)]
pub(crate) struct PackedOnce {
    direct: OnceLock<Packed>,
    by_two: OnceLock<Packed>,
    by_four: OnceLock<Packed>,
}

impl PackedOnce {
    /// The filters for a shape; `pack` packs them.
    pub(crate) fn get(&self, shape: &ConvShape, pack: impl FnOnce() -> Packed) -> &Packed {
        let packed = match Tiling::of(shape).map(|tiling| tiling.tile) {
            None => &self.direct,
            Some(Tile::Two) => &self.by_two,
            Some(Tile::Four) => &self.by_four,
        };
        packed.get_or_init(pack)
    }
}

/// Pairs of residues that have taps.
fn phases(taps: &[Taps]) -> impl Iterator<Item = [&Taps; 2]> {
    let pairs = taps.iter().flat_map(move |rows| taps.iter().map(move |columns| [rows, columns]));
    pairs.filter(|pair| pair.iter().all(|taps| !taps.taps.is_empty()))
}

impl Plan {
    /// From the input to the output.
    pub(crate) fn forward(shape: &ConvShape) -> Self {
        let images = shape.images_per_task();
        let (padded, way) = match Tiling::of(shape) {
            Some(tiling) => (tiling.padded(shape.inputs), Direction::Winograd(tiling)),
            None => (shape.padded_input(), Direction::Direct(vec![shape.pixels(images)])),
        };
        Self { padded, out_values: shape.output_values(), images, way }
    }

    /// From the output's gradient to the input's: one correlation for each pair of residues of the stride.
    pub(crate) fn input_gradient(shape: &ConvShape) -> Self {
        let (out_values, images) = (shape.input_values(), shape.images_per_task());
        if let Some(tiling) = Tiling::of(shape) {
            let padded = tiling.padded(shape.outputs);
            return Self { padded, out_values, images, way: Direction::Winograd(tiling) };
        }
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
        let pixels = |[rows, columns]: [&Taps; 2]| {
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
            pixels
        };
        let way = Direction::Direct(phases(&taps).map(pixels).collect());
        Self { padded, out_values, images, way }
    }

    /// Runs it on the images of one task, in their margins.
    pub(crate) fn run(
        &self,
        filters: &Packed,
        bias: &[f32],
        input: &[f32],
        out: &mut [f32],
        scratch: &mut winograd::Scratch,
    ) {
        match (&self.way, filters) {
            (Direction::Winograd(tiling), Packed::Winograd(filters)) => {
                winograd::convolve(tiling, filters, bias, input, out, scratch);
            }
            (Direction::Direct(phases), Packed::Direct(filters)) => {
                let images = out.len() / self.out_values;
                for (pixels, filters) in phases.iter().zip(filters) {
                    let pixels = &pixels[..pixels.len() / self.images * images];
                    let row_stride = self.padded.row();
                    Arch::new().dispatch(Correlate {
                        filters,
                        plane: 0,
                        bias,
                        input,
                        row_stride,
                        pixels,
                        out,
                    });
                }
            }
            _ => unreachable!("filters are packed for the shape that they are used with"),
        }
    }
}

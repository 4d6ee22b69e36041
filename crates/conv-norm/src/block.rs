//! A convolution, a normalization by the images' own statistics, an activation and pooling: the value, or the value with its
//! derivative along a direction in weight space, and one backward pass for both.

mod backward;
mod moments;
mod normal;
pub(crate) mod operation;
mod pixels;
mod products;

use std::iter::{repeat, repeat_with};

use rayon::prelude::*;

use crate::activation::Activation;
use crate::plan::Direction;
use crate::shape::{ConvShape, Geometry};
use crate::train::Weights;
use moments::Moments;
use normal::Normal;
use pixels::Pixels;
use products::{Memory, Products};

/// By which statistics a block normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// None: γ and β, where there are any, are applied as they are. Running statistics are a γ and a β.
    None,
    /// Mean and biased variance per channel over the batch.
    Batch,
    /// The same of each image by itself.
    Instance,
}

/// What a block does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pixels: Pixels,
    normalize: Normalize,
    epsilon: f64,
}

/// What a forward pass leaves for the backward pass, besides its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    block: Block,
    z: [Vec<f32>; 2],
    /// One for each image by itself, or one.
    normals: Vec<Normal>,
}

impl Block {
    /// `input`: `[n, h, w, c]`.
    pub(crate) fn new(
        input: [usize; 4],
        outputs: usize,
        geometry: Geometry,
        normalize: Normalize,
        activation: Activation,
        epsilon: f64,
    ) -> Self {
        // rounding that moves a value over the edge of a ReLU changes the gradient by as much as a wrong term would
        let shape = ConvShape::new(input, outputs, geometry).precise();
        Self { pixels: Pixels { shape, activation }, normalize, epsilon }
    }

    /// A convolution alone in the largest tiles: behind it nothing hangs on the sign of a value.
    pub(crate) fn convolution(input: [usize; 4], outputs: usize, geometry: Geometry) -> Self {
        let shape = ConvShape::new(input, outputs, geometry);
        let pixels = Pixels { shape, activation: Activation::Identity };
        Self { pixels, normalize: Normalize::None, epsilon: 0.0 }
    }

    /// Shape of the output, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self) -> [usize; 4] {
        self.pixels.out_shape()
    }

    /// Values of the outputs of one task.
    fn task_results(&self) -> usize {
        self.pixels.shape.images_per_task() * self.pixels.out_values()
    }

    fn tasks(&self) -> usize {
        self.pixels.shape.images.div_ceil(self.pixels.shape.images_per_task())
    }

    /// Pairs of values and derivatives of the images of a task, one image after another.
    fn images<'a>(&self, z: [&'a [f32]; 2]) -> impl Iterator<Item = [&'a [f32]; 2]> {
        let values = self.pixels.shape.output_values();
        parts(z, values).take(z[0].len() / values)
    }

    /// Output and its derivative along `direction`, where there is one; without `x[1]` the input has no derivative.
    pub(crate) fn forward(
        self,
        x: [&[f32]; 2],
        weights: Weights<'_>,
        direction: Option<Weights<'_>>,
    ) -> ([Vec<f32>; 2], Saved) {
        let shape = &self.pixels.shape;
        let zeros = |count: usize| [vec![0.0; count], vec![0.0; if direction.is_some() { count } else { 0 }]];
        let mut z = zeros(shape.images * shape.output_values());
        let mut y = zeros(shape.images * self.pixels.out_values());
        let filters = direction.map(|direction| direction.weight);
        let products = Products::new(shape, Direction::Forward, weights.weight, filters);
        let normal =
            |moments: Option<&Moments>| Normal::new(moments, shape.outputs, weights, direction, self.epsilon);
        let mut tasks: Vec<_> = parts(x, shape.task_inputs())
            .zip(parts_mut(&mut z, shape.task_outputs()).zip(parts_mut(&mut y, self.task_results())))
            .take(self.tasks())
            .collect();
        let measured: Vec<(Vec<Moments>, Vec<Normal>)> = tasks
            .par_iter_mut()
            .map_init(Memory::default, |memory, (x, (z, y))| {
                products.run(*x, reborrow(z), memory);
                let moments = match self.normalize {
                    Normalize::None => Vec::new(),
                    _ => self.images(shared(z)).map(|z| Moments::of(shape, z)).collect::<Vec<_>>(),
                };
                let normals: Vec<Normal> = match self.normalize {
                    Normalize::None => vec![normal(None)],
                    Normalize::Instance => moments.iter().map(|moments| normal(Some(moments))).collect(),
                    Normalize::Batch => return (moments, Vec::new()),
                };
                self.activate(&normals, shared(z), reborrow(y));
                (Vec::new(), normals)
            })
            .collect();
        let (moments, normals): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
        let mut normals: Vec<Normal> = normals.into_iter().flatten().collect();
        match self.normalize {
            Normalize::Instance => {}
            Normalize::None => normals.truncate(1),
            Normalize::Batch => {
                normals = vec![normal(Some(&Moments::join(moments.iter().flatten())))];
                tasks.par_iter_mut().for_each(|(_, (z, y))| self.activate(&normals, shared(z), reborrow(y)));
            }
        }
        drop(tasks);
        (y, Saved { block: self, z, normals })
    }

    /// `normals`: one for each of these images, or one.
    fn activate(&self, normals: &[Normal], z: [&[f32]; 2], y: [&mut [f32]; 2]) {
        let images = self.images(z).zip(parts_mut_of(y, self.pixels.out_values()));
        for ((z, y), normal) in images.zip(normals.iter().cycle()) {
            self.pixels.activate(normal, z, y);
        }
    }
}

/// Both in parts of so many values; without end, empty ones after the last.
fn parts(pair: [&[f32]; 2], size: usize) -> impl Iterator<Item = [&[f32]; 2]> {
    let [a, b] = pair.map(|values| values.chunks(size.max(1)).chain(repeat(&[][..])));
    a.zip(b).map(|(a, b)| [a, b])
}

/// As [`parts`].
fn parts_mut_of(pair: [&mut [f32]; 2], size: usize) -> impl Iterator<Item = [&mut [f32]; 2]> {
    let [a, b] = pair.map(|values| values.chunks_mut(size.max(1)).chain(repeat_with(Default::default)));
    a.zip(b).map(|(a, b)| [a, b])
}

/// As [`parts`].
fn parts_mut(pair: &mut [Vec<f32>; 2], size: usize) -> impl Iterator<Item = [&mut [f32]; 2]> {
    parts_mut_of(pair.each_mut().map(Vec::as_mut_slice), size)
}

fn shared<'a>(pair: &'a [&mut [f32]; 2]) -> [&'a [f32]; 2] {
    [&*pair[0], &*pair[1]]
}

fn reborrow<'a>([a, b]: &'a mut [&mut [f32]; 2]) -> [&'a mut [f32]; 2] {
    [&mut **a, &mut **b]
}

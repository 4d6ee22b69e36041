//! The backward pass of a block.

use rayon::prelude::*;

use super::normal::{AffineGradients, Correction, Normal, Sums};
use super::products::{Memory, Products};
use super::{Block, Normalize, Saved, parts, parts_mut, parts_mut_of, reborrow, shared};
use crate::plan::Direction;
use crate::train::Weights;
use crate::weight_gradient;

/// What gradients are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) x: bool,
    pub(crate) x_dot: bool,
    pub(crate) weight: bool,
    /// Those of bias, γ or β.
    pub(crate) affine: bool,
}

/// Gradients of a block, where they were asked for.
pub(crate) struct Gradients {
    pub(crate) x: Option<Vec<f32>>,
    pub(crate) x_dot: Option<Vec<f32>>,
    pub(crate) weight: Option<Vec<f32>>,
    /// Of bias, γ and β.
    pub(crate) affine: [Vec<f32>; 3],
}

impl Saved {
    /// The backward pass from the gradients of the output and of its derivative.
    pub(crate) fn gradients(
        mut self,
        x: [&[f32]; 2],
        weights: Weights<'_>,
        direction: Option<Weights<'_>>,
        dy: [&[f32]; 2],
        wanted: Wanted,
    ) -> Gradients {
        let block = self.block;
        let shape = &block.pixels.shape;
        let values = |wanted: bool| vec![0.0; if wanted { shape.images * shape.input_values() } else { 0 }];
        let mut dx = [values(wanted.x), values(wanted.x_dot)];
        let affine = self.replace_z_by_its_gradient(weights, direction, dy, &mut dx, wanted);
        let [z, z_dot] = &self.z;
        let weight = wanted.weight.then(|| {
            let mut weight = weight_gradient::of(shape, x[0], z);
            if !x[1].is_empty() {
                let dots = weight_gradient::of(shape, x[1], z_dot);
                weight.iter_mut().zip(dots).for_each(|(weight, dot)| *weight += dot);
            }
            weight
        });
        let [x, x_dot] = dx;
        let affine = affine.map(|sums| sums.into_iter().map(|sum| sum as f32).collect());
        Gradients { x: wanted.x.then_some(x), x_dot: wanted.x_dot.then_some(x_dot), weight, affine }
    }

    /// Also fills in the gradients of the input; returns those of bias, γ and β.
    fn replace_z_by_its_gradient(
        &mut self,
        weights: Weights<'_>,
        direction: Option<Weights<'_>>,
        dy: [&[f32]; 2],
        dx: &mut [Vec<f32>; 2],
        wanted: Wanted,
    ) -> AffineGradients {
        let Self { block, z, normals } = self;
        let (shape, normalize) = (&block.pixels.shape, block.normalize);
        let filters = direction.map(|direction| direction.weight);
        let products = (wanted.x || wanted.x_dot)
            .then(|| Products::new(shape, Direction::InputGradient, weights.weight, filters));
        let gamma = [weights.gamma, direction.map_or(&[], |direction| direction.gamma)];
        let per_task = if normalize == Normalize::Instance { shape.images_per_task() } else { 1 };
        let needs_sums = normalize != Normalize::None || wanted.affine;
        let finish = |task: &mut BackwardTask<'_>, sums: &[Sums], memory: &mut Memory| {
            task.replace(block, gamma, sums);
            if let Some(products) = &products {
                task.convolve(products, memory);
            }
        };
        let mut tasks: Vec<BackwardTask<'_>> = parts_mut(z, shape.task_outputs())
            .zip(parts(dy, block.task_results()).zip(parts_mut(dx, shape.task_inputs())))
            .zip(normals.chunks(per_task).cycle())
            .map(|((z, (dy, dx)), normals)| BackwardTask { z, dy, dx, normals })
            .take(block.tasks())
            .collect();
        let sums: Vec<Vec<Sums>> = tasks
            .par_iter_mut()
            .map_init(Memory::default, |memory, task| {
                let sums = if needs_sums { task.sums(block) } else { vec![no_sums(shape.outputs)] };
                if normalize != Normalize::Batch {
                    finish(task, &sums, memory);
                }
                sums
            })
            .collect();
        let mut sums: Vec<Sums> = sums.into_iter().flatten().collect();
        if normalize != Normalize::Instance {
            sums = vec![joined(&sums, shape.outputs)];
        }
        if normalize == Normalize::Batch {
            tasks.par_iter_mut().for_each_init(Memory::default, |memory, task| finish(task, &sums, memory));
        }
        let mut gradients = [(); 3].map(|()| vec![0.0; shape.outputs]);
        for (normal, sums) in normals.iter().zip(&sums) {
            normal.add_gradients(sums, &mut gradients);
        }
        gradients
    }
}

/// Some images in the backward pass.
struct BackwardTask<'a> {
    z: [&'a mut [f32]; 2],
    dy: [&'a [f32]; 2],
    dx: [&'a mut [f32]; 2],
    /// One for each of these images, or one.
    normals: &'a [Normal],
}

impl BackwardTask<'_> {
    /// Of each image.
    fn sums(&self, block: &Block) -> Vec<Sums> {
        let images = block.images([&*self.z[0], &*self.z[1]]).zip(parts(self.dy, block.pixels.out_values()));
        images
            .zip(self.normals.iter().cycle())
            .map(|((z, dy), normal)| block.pixels.sums(normal, z, dy))
            .collect()
    }

    /// `sums`: of each of these images, or of all images together.
    fn replace(&mut self, block: &Block, gamma: [&[f32]; 2], sums: &[Sums]) {
        let Self { z, dy, normals, .. } = self;
        let values = block.pixels.shape.output_values();
        let count = z[0].len() / values;
        let corrections: Vec<Correction> =
            normals.iter().zip(sums).map(|(normal, sums)| normal.correction(sums, gamma)).collect();
        let images = parts_mut_of(reborrow(z), values).zip(parts(*dy, block.pixels.out_values()));
        let normals = normals.iter().zip(&corrections).cycle();
        for ((z, dy), (normal, correction)) in images.take(count).zip(normals) {
            block.pixels.replace(normal, correction, z, dy);
        }
    }

    /// The gradients of the input from those of the convolution.
    fn convolve(&mut self, products: &Products, memory: &mut Memory) {
        let ([z, z_dot], [dx, dx_dot]) = (shared(&self.z), reborrow(&mut self.dx));
        if z_dot.is_empty() {
            products.run([z, &[]], [dx, &mut []], memory);
        } else {
            products.run([z_dot, z], [dx_dot, dx], memory);
        }
    }
}

fn no_sums(channels: usize) -> Sums {
    [(); 5].map(|()| vec![0.0; channels])
}

/// Added up in their order.
fn joined(parts: &[Sums], channels: usize) -> Sums {
    let mut joined = no_sums(channels);
    for part in parts {
        for (joined, part) in joined.iter_mut().flatten().zip(part.iter().flatten()) {
            *joined += part;
        }
    }
    joined
}

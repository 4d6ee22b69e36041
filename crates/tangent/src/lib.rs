//! A ConvNet as a function of its weights, with the derivatives that batch-to-batch distillation takes of its gradients.
//!
//! Burn differentiates once. The methods that match gradients or unroll training want the derivative of a gradient, which needs
//! no second backward pass: the derivative of the forward pass along a direction `v` in weight space is itself a forward pass in
//! plain operations ([`Function::tangent`]), and one ordinary backward pass over it gives `H v`, the gradient of `<v, g>` on the
//! images and that on the targets exactly (Pearlmutter 1994, "reverse over forward"; [`Function::product`]). There is no step
//! size and no cancellation: errors are those of f32. Central differences of gradients are of no use here, since every gate of a
//! ReLU that flips between the two points adds a jump divided by the step.
//!
//! Weights, directions and gradients are flat tensors `[parameters]` in forward order ([`Form::slots`]), so that their
//! arithmetic is that of vectors. [`unrolled_sgd`] and [`unrolled_adam`] go backward through training by hand, one step of
//! activations in memory at a time.

mod form;
mod forward;
mod function;
mod fused;
mod layers;
mod linearized;
mod products;
pub mod unrolled_adam;
pub mod unrolled_sgd;

pub use form::{Activation, Form, Norm, Slot};
pub use forward::{Dual, Norms, Pass, Statistics};
pub use function::{Function, Start, Weights};
pub use linearized::Linearized;
pub use products::{Gradient, Product, Wanted, cross_entropy, cross_entropy_dot, dot, total};

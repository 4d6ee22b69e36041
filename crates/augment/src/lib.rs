//! Draws and pixel arithmetic on the host: every random choice of the pipeline and every transform that is not differentiated.
//!
//! Takes images (8-bit RGB) or normalized `[channels, height, width]` values and a seed; makes crop boxes, resized
//! images, RandAugment operations, CutMix and MixUp batches, and the complete augmented views that `relabel` labels and
//! `evaluate` replays. Nothing here knows a tensor library, so that a view can be built again bit for bit anywhere.
//!
//! | module | content |
//! |---|---|
//! | [`draws`] | random streams as pure functions of (seed, purpose, two counters) |
//! | [`crop`] | RandomResizedCrop boxes and the easy-to-hard curriculum |
//! | [`resample`] | antialiased bilinear resampling of floats: matrices and cropped images |
//! | [`resize`] | Pillow's 8-bit resize and the test transform (short side, center crop) |
//! | [`randaugment`] | timm's 15 operations and the policy `rand-m{m}-n{n}-mstd{s}` |
//! | [`mix`] | CutMix and MixUp |
//! | [`mod@shuffle_patches`] | patches of a mosaic in another order |
//! | [`dsa`], [`warp`] | the differentiable augmentations of the batch-to-batch methods |
//! | [`normalize`] | pixels to normalized values and back |
//! | [`mod@pad_crop_flip`] | the teacher's training transform |
//! | [`torch_order()`] | the order in which PyTorch's loaders show images |
//! | [`view`] | all of the above in the order of one augmented view |
//!
//! Run its tests: `cargo test -p delt-augment`; against torchvision, Pillow and timm: `cargo test -p delt-golden`.

/// Red, green and blue.
const CHANNELS: usize = 3;

mod affine;
pub mod crop;
pub mod draws;
pub mod dsa;
mod error;
pub mod mix;
pub mod normalize;
pub mod pad_crop_flip;
pub mod randaugment;
pub mod resample;
pub mod resize;
pub mod shuffle_patches;
mod tone;
mod torch_order;
pub mod view;
pub mod warp;

pub use crop::{easy_to_hard, random_resized_crop, random_square_crop};
pub use draws::Draws;
pub use error::AugmentError;
pub use mix::{apply_mix, cutmix_box, draw_cutmix, draw_mixup};
pub use normalize::{pixel_range, to_normalized, to_rgb_image};
pub use randaugment::{RandAugment, apply, argument};
pub use resample::{Pixel, bilinear_matrix, resized_crop};
pub use resize::{cut, fit, resize_pillow};
pub use torch_order::torch_order;
pub use view::{MixSpec, Order, ViewSpec, build_views, draw_views};

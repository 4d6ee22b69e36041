//! What matching batches of real images computes, in forward passes of one image through the network.

use super::{Sizes, TRAINING_PASSES};
use crate::config::Pipeline;
use crate::config::method::{Frepo, GradientMatching, Method, RatBptt, Rcig, TrajectoryMatching};

/// Forward and backward to the pixels, the weights constant.
const PIXELS: f64 = 2.0;

/// The derivative of the outputs along a direction of the weights, beside the outputs.
const TANGENT: f64 = 3.0;

/// A product with the Hessian and its likes, in gradients on the weights: all of it, and on the pixels alone.
const PRODUCT: f64 = 3.0;
const PIXEL_PRODUCT: f64 = 2.2;

/// Gradients on the weights of a network of RCIG's pool after an iteration, on average.
fn mean_steps(most: u32) -> f64 {
    f64::midpoint(1.0, f64::from(most))
}

/// Forward passes of all iterations of a branch.
pub(super) fn passes(pipeline: &Pipeline, sizes: &Sizes) -> f64 {
    let Some(matching) = &pipeline.synthesize.matching else { return 0.0 };
    let (classes, ipc) = (sizes.classes_in_use as f64, f64::from(pipeline.select.ipc));
    let iteration = match pipeline.synthesize.method {
        Method::EarlyLate {} => 0.0,
        Method::DistributionMatching(it) => classes * (f64::from(it.real_batch) + PIXELS * ipc),
        Method::GradientMatching(it) => of_gradients(&it, classes, ipc),
        Method::TrajectoryMatching(it) => of_trajectories(&it, classes * ipc),
        Method::RatBptt(it) => of_rat_bptt(&it, classes, ipc),
        Method::Frepo(it) => of_frepo(&it, classes * ipc),
        Method::Rcig(it) => of_rcig(&it, classes * ipc),
    };
    f64::from(matching.iterations) * iteration
}

fn of_gradients(it: &GradientMatching, classes: f64, ipc: f64) -> f64 {
    let step = classes * (f64::from(it.real_batch) + ipc * (1.0 + PIXEL_PRODUCT));
    let training = f64::from(it.outer.saturating_sub(1)) * f64::from(it.inner_epochs) * classes * ipc;
    TRAINING_PASSES * (f64::from(it.outer) * step + training)
}

fn of_trajectories(it: &TrajectoryMatching, images: f64) -> f64 {
    let batch = it.batch.map_or(images, |batch| f64::from(batch).min(images));
    let product = if it.curvature { PRODUCT } else { PIXEL_PRODUCT };
    TRAINING_PASSES * f64::from(it.steps) * batch * (1.0 + product)
}

fn of_rat_bptt(it: &RatBptt, classes: f64, ipc: f64) -> f64 {
    let classes = it.classes.map_or(classes, |some| f64::from(some).min(classes));
    let batch = classes * it.images_per_class.map_or(ipc, f64::from);
    let most = f64::from(it.steps - it.window);
    let before = if it.window_at_end { most } else { most / 2.0 };
    TRAINING_PASSES * (batch * (before + f64::from(it.window) * (1.0 + PRODUCT)) + f64::from(it.real_batch))
}

fn of_frepo(it: &Frepo, images: f64) -> f64 {
    let seen = if it.mirror { 2.0 * images } else { images };
    f64::from(it.real_batch) + PIXELS * seen + TRAINING_PASSES * images.min(f64::from(it.train_batch))
}

fn of_rcig(it: &Rcig, images: f64) -> f64 {
    let seen = if it.mirror { 2.0 * images } else { images };
    let step = TANGENT + TRAINING_PASSES;
    let steps = f64::from(it.inner_steps + it.inverse_steps) * step * seen;
    let products = 3.0 * TRAINING_PASSES * PIXEL_PRODUCT * seen;
    let pool = mean_steps(it.network_steps) * TRAINING_PASSES * images;
    steps + f64::from(it.real_batch) * step + products + pool
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::of_run;
    use super::*;

    #[test]
    fn iterations_cost_what_passes_through_the_network_and_branches_share_experts() {
        let sizes = Sizes { train_images: 50_000, test_images: 10_000, classes: 10, classes_in_use: 10 };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar10-ipc1-matching.yaml");
        let branches = crate::config::load(&path, &[], None).expect("loads");
        let of = |name: &str| branches.iter().find(|branch| branch.name == name).expect("a branch").clone();
        let passes = |name: &str| passes(&of(name).pipeline, &sizes);
        assert_eq!(passes("dm"), 20_000.0 * 10.0 * (256.0 + 2.0));
        assert_eq!(passes("dsa"), 1000.0 * 3.0 * 10.0 * (256.0 + 3.2));
        assert_eq!(passes("mtt"), 5000.0 * 3.0 * 50.0 * 10.0 * 4.0);
        assert_eq!(passes("delt"), 0.0);
        let costs = |names: &[&str]| {
            of_run(&names.iter().map(|name| of(name)).collect::<Vec<_>>(), &sizes).remove(0).flops
        };
        let network = of("mtt").pipeline.synthesize.matching.expect("matches").network;
        let experts = 3.0 * 100.0 * 22.0 * 50_000.0 * network.forward_flops(32, 10);
        let found = costs(&["mtt", "tesla", "delt"]) - costs(&["delt"]);
        assert!((found / experts - 1.0).abs() < 1e-9, "{found} against {experts}");
    }
}

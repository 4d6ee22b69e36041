//! `batch/optimizers`: four steps of each optimizer of images along given gradients.

use delt_matching::ImageOptimizer;
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_tests::{assert_close, json, number, tensors, values};

fn optimizers_of_images_take_the_published_steps() {
    let (Some(case), Some(golden)) = (json("batch/optimizers"), tensors("batch/optimizers")) else { return };
    let of = |optimizer: &str, key: &str| number(&case[optimizer][key]);
    let lr = number(&case["lr"]);
    let betas = |optimizer| (of(optimizer, "beta_1"), of(optimizer, "beta_2"), of(optimizer, "epsilon"));
    let sgd = Rule::Sgd { lr, momentum: of("sgd_momentum_half", "momentum"), final_share: None };
    let (beta_1, beta_2, epsilon) = betas("lamb");
    let lamb = Rule::Lamb { lr, beta_1, beta_2, epsilon, final_share: None };
    let (beta_1, beta_2, epsilon) = betas("adabelief");
    let epsilon_root = of("adabelief", "epsilon_root");
    let adabelief = Rule::Adabelief { lr, beta_1, beta_2, epsilon, epsilon_root, final_share: None };
    let device = delt_tests::device();
    for (name, rule) in [("sgd_momentum_half", sgd), ("lamb", lamb), ("adabelief", adabelief)] {
        let mut moved = golden.tensor::<1>("start", &device);
        let mut optimizer = ImageOptimizer::new(rule, &moved);
        for step in 0..4 {
            moved = optimizer.step(moved, golden.tensor(&format!("gradient.{step}"), &device), lr);
            let after = format!("{name}.{step}");
            assert_close(&after, &values(moved.clone()), &golden.values(&after), 1e-6);
        }
    }
}

tests! {
    optimizers_of_images_take_the_published_steps,
}

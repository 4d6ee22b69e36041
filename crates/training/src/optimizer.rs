//! AdamW, Adam and SGD with every value written out: Burn's defaults are not PyTorch's.

use burn::module::ParamGroup;
use burn::optim::ModuleOptimizer;
use delt_networks::Network;
use delt_pipeline::config::given::GivenOptimizer;
use delt_pipeline::config::teacher::Optimizer;

use crate::one_pass::{Adaptive, Sgd};

/// Makes the optimizer of a network. Weights of two or more dimensions decay; others and biases do not.
pub fn module_optimizer(optimizer: &Optimizer, network: &Network) -> ModuleOptimizer {
    let short = without_decay(network);
    match optimizer {
        Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
            let sgd = |weight_decay| sgd(*momentum, *nesterov, weight_decay);
            ModuleOptimizer::from(sgd(*weight_decay)).with_group(short, sgd(0.0), None)
        }
        Optimizer::Adamw { beta_1, beta_2, epsilon, weight_decay, .. } => {
            let betas = [*beta_1 as f32, *beta_2 as f32];
            let adamw = |weight_decay: f64| Adaptive::adamw(betas, *epsilon as f32, weight_decay as f32);
            ModuleOptimizer::from(adamw(*weight_decay)).with_group(short, adamw(0.0), None)
        }
    }
}

/// Makes the optimizer of a student that learns what its set gives; all tensors decay.
pub fn given_optimizer(optimizer: &GivenOptimizer) -> ModuleOptimizer {
    match optimizer {
        GivenOptimizer::Sgd { momentum, weight_decay, .. } => sgd(*momentum, false, *weight_decay).into(),
        GivenOptimizer::Adam { beta_1, beta_2, epsilon, .. } => {
            Adaptive::adam([*beta_1 as f32, *beta_2 as f32], *epsilon as f32).into()
        }
    }
}

fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> Sgd {
    Sgd { momentum: momentum as f32, nesterov, weight_decay: weight_decay as f32 }
}

/// What PyTorch's students do not decay: all but weights of two or more dimensions.
fn without_decay(network: &Network) -> ParamGroup {
    let short = network.tensors().filter(|(_, name, shape)| shape.len() < 2 || !name.contains("weight"));
    ParamGroup::from_ids(short.map(|(id, ..)| id).collect())
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, SgdConfig};
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;

    type Parameters = Vec<Param<Tensor<2>>>;

    /// Several tasks with a rest, and one.
    const SIZES: [[usize; 2]; 3] = [[187, 211], [3, 11], [1, 1]];

    fn moved(optimizer: &mut ModuleOptimizer, parameters: Parameters, gradients: &[Tensor<2>]) -> Parameters {
        let mut all = GradientsParams::new();
        for (parameter, gradient) in parameters.iter().zip(gradients) {
            all.register(parameter.id, gradient.clone());
        }
        optimizer.step(0.013, parameters, all)
    }

    fn bits(parameters: &Parameters) -> Vec<u32> {
        let values = parameters.iter().map(|parameter| parameter.val().inner().try_into_vec_as::<f32>());
        values.flat_map(|values| values.expect("numbers")).map(f32::to_bits).collect()
    }

    /// Gradients are views, half of them -0. After three steps each resumes from the other's record.
    fn assert_as_burns(ours: &dyn Fn() -> ModuleOptimizer, burns: &dyn Fn() -> ModuleOptimizer) {
        let device = Device::flex();
        device.seed(5);
        let random = |size, spread| Tensor::<2>::random(size, Distribution::Normal(0.0, spread), &device);
        let parameter = |size| Param::from_tensor(Tensor::from_inner(random(size, 1.0)).require_grad());
        let start: Parameters = SIZES.into_iter().map(parameter).collect();
        let mut pair = [(ours(), start.clone()), (burns(), start)];
        for step in 0..6 {
            let gradients = SIZES.map(|[rows, columns]| {
                let gradient = random([columns, rows], 0.1_f64.powi(step)).transpose();
                (gradient.clone() - gradient.clamp_min(0.0)).mul_scalar(-1.0)
            });
            pair = pair.map(|(mut optimizer, parameters)| {
                let parameters = moved(&mut optimizer, parameters, &gradients);
                (optimizer, parameters)
            });
            assert!(bits(&pair[0].1) == bits(&pair[1].1), "step {step}");
            if step == 2 {
                let [(mine, _), (theirs, _)] = &mut pair;
                let record = mine.into_bytes().expect("saved");
                *mine = ours().from_bytes(theirs.into_bytes().expect("saved")).expect("loaded");
                *theirs = burns().from_bytes(record).expect("loaded");
            }
        }
    }

    #[test]
    fn adamw_and_adam_have_the_bits_of_burns_and_its_record() {
        for decay in [0.0, 0.02] {
            let burns = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay);
            let ours = || Adaptive::adamw([0.9, 0.999], 1e-8, decay).into();
            assert_as_burns(&ours, &|| burns.init());
        }
        let burns = AdamConfig::new().with_beta_1(0.5).with_epsilon(1e-7);
        assert_as_burns(&|| Adaptive::adam([0.5, 0.999], 1e-7).into(), &|| burns.init());
    }

    #[test]
    fn sgd_has_the_bits_of_burns_and_its_record() {
        for (momentum, nesterov, decay) in
            [(0.9, true, 5e-4), (0.9, true, 0.0), (0.5, false, 0.1), (0.0, false, 0.0)]
        {
            let config = MomentumConfig { momentum, dampening: 0.0, nesterov };
            let penalty = WeightDecayConfig { penalty: decay };
            let burns = SgdConfig::new()
                .with_momentum((momentum > 0.0).then_some(config))
                .with_weight_decay((decay > 0.0).then_some(penalty));
            assert_as_burns(&|| sgd(momentum, nesterov, f64::from(decay)).into(), &|| burns.init());
        }
    }
}

//! Burn's optimizers with every value written out: their defaults are not PyTorch's.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use delt_networks::Network;
use delt_pipeline::config::given::GivenOptimizer;
use delt_pipeline::config::teacher::Optimizer;

/// Makes the optimizer of a network. Weights of two or more dimensions decay; others and biases do not.
pub fn module_optimizer(optimizer: &Optimizer, network: &Network) -> ModuleOptimizer {
    let short = without_decay(network);
    match optimizer {
        Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
            let sgd = |weight_decay| sgd(*momentum, *nesterov, weight_decay);
            sgd(*weight_decay).init().with_group(short, sgd(0.0).build(), None)
        }
        Optimizer::Adamw { beta_1, beta_2, epsilon, weight_decay, .. } => {
            let adamw = |weight_decay: f64| {
                AdamWConfig::new()
                    .with_beta_1(*beta_1 as f32)
                    .with_beta_2(*beta_2 as f32)
                    .with_epsilon(*epsilon as f32)
                    .with_weight_decay(weight_decay as f32)
                    .with_cautious_weight_decay(false)
                    .with_amsgrad(false)
            };
            adamw(*weight_decay).init().with_group(short, adamw(0.0).build(), None)
        }
    }
}

/// Makes the optimizer of a student that learns what its set gives; all tensors decay.
pub fn given_optimizer(optimizer: &GivenOptimizer) -> ModuleOptimizer {
    match optimizer {
        GivenOptimizer::Sgd { momentum, weight_decay, .. } => sgd(*momentum, false, *weight_decay).init(),
        GivenOptimizer::Adam { beta_1, beta_2, epsilon, .. } => AdamConfig::new()
            .with_beta_1(*beta_1 as f32)
            .with_beta_2(*beta_2 as f32)
            .with_epsilon(*epsilon as f32)
            .init(),
    }
}

/// PyTorch's SGD: no dampening.
fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> SgdConfig {
    let momentum = (momentum > 0.0).then_some(MomentumConfig { momentum, dampening: 0.0, nesterov });
    let decay = (weight_decay > 0.0).then_some(WeightDecayConfig { penalty: weight_decay as f32 });
    SgdConfig::new().with_momentum(momentum).with_weight_decay(decay)
}

/// What PyTorch's students do not decay: all but weights of two or more dimensions.
fn without_decay(network: &Network) -> ParamGroup {
    let short = network.tensors().filter(|(_, name, shape)| shape.len() < 2 || !name.contains("weight"));
    ParamGroup::from_ids(short.map(|(id, ..)| id).collect())
}

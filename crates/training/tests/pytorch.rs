//! Losses and a teacher's steps against PyTorch 2. The figures are printed by this script:
//!
//! ```python
//! import math, torch, torch.nn.functional as F
//! from torch import nn
//! logits = torch.tensor([[1.0, -0.5, 2.0], [0.0, 0.25, -1.5]])
//! print(F.cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.1), F.cross_entropy(logits, torch.tensor([0, 1])))
//! print(F.cross_entropy(logits, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.4, 0.6]])))
//! conv, norm, fc = nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Linear(8, 3)
//! def fill(t): t.data = torch.tensor([0.5 * math.sin(1 + i) for i in range(t.numel())]).reshape(t.shape)
//! for t in (conv.weight, conv.bias, fc.weight, fc.bias): fill(t)
//! for t in (norm.weight, norm.bias): t.data = torch.tensor([1.0 + 0.5 * math.cos(i) for i in range(2)])
//! x = torch.tensor([math.cos(0.7 * i) for i in range(5 * 3 * 16)]).reshape(5, 3, 4, 4)
//! y = torch.tensor([0, 2, 1, 1, 0])
//! long, short = [conv.weight, fc.weight], [conv.bias, norm.weight, norm.bias, fc.bias]
//! sgd = torch.optim.SGD([{"params": long, "weight_decay": 0.05}, {"params": short}], lr=0.1, momentum=0.9, nesterov=True)
//! for _ in range(3):
//!     logits = fc(F.avg_pool2d(F.relu(norm(conv(x))), 2).flatten(1))
//!     loss = F.cross_entropy(logits, y, label_smoothing=0.1)
//!     sgd.zero_grad(); loss.backward(); sgd.step(); print(loss.item())
//! for t in (conv.weight.flatten()[:3], norm.weight, norm.bias, fc.weight[0, :3], fc.bias, norm.running_mean, norm.running_var):
//!     print(t.tolist())
//! ```

use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_formats::{Architecture, TensorValues};
use delt_networks::Network;
use delt_pipeline::config::teacher::Optimizer;
use delt_training::losses::{cross_entropy, cross_entropy_to_distribution};
use delt_training::{module_optimizer, training_step};

const TOLERANCE: f32 = 1e-5;

fn logits() -> Tensor<2> {
    Tensor::from_floats([[1.0, -0.5, 2.0], [0.0, 0.25, -1.5]], &Device::flex())
}

fn scalar(loss: Tensor<1>) -> f32 {
    loss.into_scalar::<f32>()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let is_close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= TOLERANCE * b.abs().max(1.0));
    assert!(is_close, "{what}: found {found:?}, expected {expected:?}");
}

#[test]
fn cross_entropies_agree_with_pytorch() {
    let labels = || Tensor::<1, Int>::from_ints([0, 1], &Device::flex());
    assert_close("plain", &[scalar(cross_entropy(logits(), labels(), 0.0))], &[1.020_344]);
    assert_close("smoothed", &[scalar(cross_entropy(logits(), labels(), 0.1))], &[1.062_010_6]);
    let targets = Tensor::from_floats([[0.75, 0.25, 0.0], [0.0, 0.4, 0.6]], &Device::flex());
    assert_close("mixed", &[scalar(cross_entropy_to_distribution(logits(), targets))], &[1.732_844]);
}

fn network(device: &Device) -> Network {
    let architecture = Architecture::convnet(1, 2);
    let fill = |name: &str, shape: &[usize]| -> Vec<f32> {
        let value = |i: usize| match name {
            "layers.norm.0.running_mean" => 0.0,
            "layers.norm.0.running_var" => 1.0,
            name if name.starts_with("layers.norm") => 1.0 + 0.5 * (i as f64).cos(),
            _ => 0.5 * (1.0 + i as f64).sin(),
        };
        (0..shape.iter().product()).map(|i| value(i) as f32).collect()
    };
    Network::build(&architecture, 3, 4, device, &mut |tensor| Ok(fill(&tensor.name, &tensor.shape)))
        .expect("built")
}

fn pictures(device: &Device) -> Tensor<4> {
    let pixels: Vec<f32> = (0..5 * 3 * 16).map(|i| (0.7 * f64::from(i)).cos() as f32).collect();
    Tensor::from_data(TensorData::new(pixels, [5, 3, 4, 4]), device)
}

fn tensor(network: &Network, name: &str, count: usize) -> Vec<f32> {
    let tensors = network.named_tensors().expect("readable");
    let found = tensors.into_iter().find(|tensor| tensor.name == name).expect("a tensor of this name");
    let TensorValues::F32(values) = found.values else { panic!("{name} holds no f32") };
    values[..count].to_vec()
}

#[test]
fn three_nesterov_steps_with_decay_on_matrices_agree_with_pytorch() {
    let device = Device::flex().autodiff();
    let mut network = network(&device);
    let recipe = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.05 };
    let mut optimizer = module_optimizer(&recipe, &network);
    let mut losses = Vec::new();
    for _ in 0..3 {
        let labels = Tensor::<1, Int>::from_ints([0, 2, 1, 1, 0], &device);
        let loss_of = |logits| cross_entropy(logits, labels, 0.1);
        let (moved, loss) = training_step(network, &mut optimizer, 0.1, 0.1, pictures(&device), loss_of);
        network = moved;
        losses.push(loss.read().expect("readable") as f32);
    }
    assert_close("losses", &losses, &[1.416_244_1, 1.103_407_1, 1.039_778_8]);
    let expected: [(&str, &[f32]); 7] = [
        ("layers.conv.0.weight", &[0.464_160_9, 0.547_122_6, 0.124_297_4]),
        ("layers.norm.0.weight", &[1.482_364_8, 1.200_098_8]),
        ("layers.norm.0.bias", &[1.410_326_1, 1.249_403_6]),
        ("classifier.weight", &[0.266_002_9, 0.272_729_4, -0.028_664_8]),
        ("classifier.bias", &[0.359_249_5, 0.455_057_9, 0.131_636_8]),
        ("layers.norm.0.running_mean", &[0.115_166_5, 0.121_726_7]),
        ("layers.norm.0.running_var", &[0.819_781_5, 0.916_607_1]),
    ];
    for (name, expected) in expected {
        assert_close(name, &tensor(&network, name, expected.len()), expected);
    }
}

#[test]
fn one_update_of_running_statistics_by_0_19_is_two_by_0_1() {
    let device = Device::flex();
    let network = network(&device);
    let (_, statistics) = network.forward_train(pictures(&device));
    let once = network.clone().update_running(&statistics, 0.19);
    let twice = network.update_running(&statistics, 0.1).update_running(&statistics, 0.1);
    for name in ["layers.norm.0.running_mean", "layers.norm.0.running_var"] {
        assert_close(name, &tensor(&once, name, 2), &tensor(&twice, name, 2));
    }
}

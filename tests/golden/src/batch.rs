//! `batch/*`: what the files of the batch-to-batch methods share.

use burn::tensor::{Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_formula::{formula_uniform, weights};
use delt_tangent::{Activation, Form, Function, Norm, Norms, Slot, Start, Statistics};
use delt_tests::{Tensors, device, json, number, record, relative_error, values};
use serde_json::Value;

/// A test passes within so many times the error that the formulation reached in f32.
pub(crate) const TIMES_REACHED: f64 = 20.0;

/// A network of the golden files, filled by formula.
pub(crate) struct Net {
    pub(crate) function: Function,
    pub(crate) theta: Tensor<1>,
    running: Option<Vec<Statistics>>,
    slots: Vec<Slot>,
    by_own_statistics: bool,
}

/// Prefix of the values by formula.
pub(crate) fn prefix() -> String {
    json("batch/meta").unwrap()["weights_prefix"].as_str().unwrap().to_owned()
}

impl Net {
    /// The network that a file describes.
    pub(crate) fn of(net: &Value) -> Self {
        let size = |name: &str| net[name].as_u64().unwrap() as usize;
        let doubled = |block: usize| if net["doubling"] == true { 1 << block } else { 1 };
        let norm = match net["norm"].as_str().unwrap() {
            "none" => Norm::None,
            "instance" => Norm::Instance,
            _ => Norm::Batch,
        };
        let relu = Activation::Relu;
        let form = Form {
            widths: (0..size("depth")).map(|block| size("width") * doubled(block)).collect(),
            norm,
            norm_before_conv: net["norm_before_conv"] == true,
            activation: net["softplus_beta"].as_f64().map_or(relu, |beta| Activation::Softplus { beta }),
            size: size("size"),
            classes: size("classes"),
        };
        let (slots, prefix) = (form.slots(), prefix());
        let filled = slots.iter().flat_map(|slot| weights(&prefix, &slot.name, &slot.shape)).collect();
        let function = Function::new(form, &device());
        let theta = function.vector(filled);
        let has_running = net["norm"] == "running";
        let running = has_running.then(|| {
            let layers = slots.iter().filter_map(|slot| {
                let layer = slot.name.strip_suffix(".weight").filter(|name| name.contains(".norm."))?;
                let values = |leaf| weights(&prefix, &format!("{layer}.{leaf}"), &slot.shape);
                let vector = |values: Vec<f32>| Tensor::from_data(values.as_slice(), &device());
                let (mean, variance) = (vector(values("running_mean")), vector(values("running_var")));
                Some(Statistics { mean, variance })
            });
            layers.collect()
        });
        Self { function, theta, running, slots, by_own_statistics: !has_running && norm != Norm::None }
    }

    pub(crate) fn norms(&self) -> Norms<'_> {
        self.running.as_deref().map_or(Norms::Own, Norms::Running)
    }

    /// The named tensors `tag.NAME`.
    pub(crate) fn named(&self, tag: &str, scale: f64) -> Tensor<1> {
        let prefix = prefix();
        let of = |slot: &Slot| formula_uniform(&prefix, &format!("{tag}.{}", slot.name), slot.range.len());
        let values = self.slots.iter().flat_map(of).map(|value| (value * scale) as f32);
        self.function.vector(values.collect())
    }

    /// Compares a vector with the tensors `tag.NAME` of a file, all at once; biases that normalization takes out again are noise, and
    /// names in `absent` are not there.
    #[track_caller]
    pub(crate) fn assert_weights(&self, golden: &Tensors, tag: &str, ours: Tensor<1>, reached: f64) {
        let ours = values(ours);
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        for slot in &self.slots {
            let name = format!("{tag}.{}", slot.name);
            let is_bias = slot.name.contains(".conv.") && slot.name.ends_with("bias");
            let is_noise = is_bias && self.by_own_statistics;
            if is_noise || !golden.names().any(|known| known == name) {
                continue;
            }
            found.extend_from_slice(&ours[slot.range.clone()]);
            expected.extend(golden.values(&name));
        }
        assert!(!expected.is_empty(), "{tag}");
        within(tag, &found, &expected, reached);
    }
}

/// Fails unless the error is within twenty times that which was reached.
#[track_caller]
pub(crate) fn within(what: &str, ours: &[f32], expected: &[f32], reached: f64) {
    let error = relative_error(ours, expected);
    assert!(
        record::compared(&what, error, TIMES_REACHED * reached),
        "{what}: relative error {error}, reached {reached}"
    );
}

#[track_caller]
pub(crate) fn scalar_within(what: &str, ours: Tensor<1>, expected: &Value, reached: f64) {
    within(what, &values(ours), &[number(expected) as f32], reached);
}

/// A host vector as a tensor.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn first_weights_are_spread_as_published() {
    let net = json("batch/meta").map(|_| Form {
        widths: vec![32, 64, 128],
        norm: Norm::Batch,
        norm_before_conv: true,
        activation: Activation::Relu,
        size: 32,
        classes: 10,
    });
    let Some(form) = net else { return };
    let function = Function::new(form, &device());
    for (start, of) in [(Start::Torch, 1.0 / 3.0_f64), (Start::LeCun, 1.0)] {
        let first = function.initialize(start, &Draws::new(3), "test", 0, 0);
        let tensors = function.named(&values(first));
        let weight = tensors.iter().find(|tensor| tensor.name == "layers.conv.2.weight").unwrap();
        let delt_formats::TensorValues::F32(values) = &weight.values else { panic!("floats") };
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
        let expected = of / (64.0 * 9.0);
        assert!((variance / expected - 1.0).abs() < 0.03, "{start:?}: {variance}, expected {expected}");
    }
}

tests! {
    first_weights_are_spread_as_published,
}

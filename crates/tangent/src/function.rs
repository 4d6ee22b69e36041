//! The function itself: flat weights to tensors and back, and first weights.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_conv_norm::is_supported;
use delt_formats::{NamedTensor, TensorValues};
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::form::{Form, Slot};

/// Standard deviation of a standard normal distribution that is cut at ±2, as JAX corrects for it.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// A ConvNet on a plain device, as a function of its weights.
#[derive(Clone, Debug)]
pub struct Function {
    /// What it computes.
    pub form: Form,
    /// Where its values lie.
    pub(crate) slots: Vec<Slot>,
    /// Without autodiff.
    pub(crate) device: Device,
    /// Whether blocks are taken as one operation.
    pub(crate) is_fused: bool,
}

/// How first weights are drawn; normalization starts as the identity in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// PyTorch's default: weights and biases uniform in ±1/√fan_in.
    Torch,
    /// Weights normal with variance 1/fan_in, cut at two standard deviations; biases 0 (FRePo, RCIG).
    LeCun,
}

/// Weights, or a direction in their space, layer by layer.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[out, in, 3, 3]` and `[out]` of each block.
    pub(crate) convolutions: Vec<(Tensor<4>, Tensor<1>)>,
    /// γ and β `[channels]` of each block, where it normalizes.
    pub(crate) norms: Vec<Option<(Tensor<1>, Tensor<1>)>>,
    /// `[classes, features]` and `[classes]`.
    pub(crate) classifier: (Tensor<2>, Tensor<1>),
}

impl Function {
    /// The function on a device, autodiff or not.
    pub fn new(form: Form, device: &Device) -> Self {
        let is_fused = is_supported(device);
        Self { slots: form.slots(), form, device: device.clone().without_autodiff(), is_fused }
    }

    /// The same function, layer by layer on every backend.
    #[must_use]
    pub fn without_fusion(self) -> Self {
        Self { is_fused: false, ..self }
    }

    /// Where it computes, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Values that training moves.
    pub fn parameters(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.range.end)
    }

    /// First weights `[parameters]`, drawn by purpose and two counters.
    pub fn initialize(&self, start: Start, draws: &Draws, purpose: &str, a: u64, b: u64) -> Tensor<1> {
        let mut values = Vec::with_capacity(self.parameters());
        let mut fan_in = 1;
        let mut rng = draws.stream(purpose, a, b);
        for slot in &self.slots {
            let count = slot.range.len();
            let is_weight = slot.name.ends_with("weight");
            if slot.name.contains(".norm.") {
                values.extend(std::iter::repeat_n(if is_weight { 1.0 } else { 0.0 }, count));
                continue;
            }
            if is_weight {
                fan_in = slot.shape[1..].iter().product();
            }
            let bound = 1.0 / (fan_in as f64).sqrt();
            match (start, is_weight) {
                (Start::Torch, _) => {
                    values.extend((0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32));
                }
                (Start::LeCun, true) => {
                    let std = bound / TRUNCATED_STD;
                    values.extend((0..count).map(|_| (truncated_normal(&mut rng) * std) as f32));
                }
                (Start::LeCun, false) => values.extend(std::iter::repeat_n(0.0, count)),
            }
        }
        self.vector(values)
    }

    /// Values in forward order as a vector on the device.
    ///
    /// # Panics
    /// Where there are not as many as parameters.
    pub fn vector(&self, values: Vec<f32>) -> Tensor<1> {
        assert_eq!(values.len(), self.parameters(), "one value for each parameter");
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &self.device)
    }

    /// The values of named tensors in forward order; other names are passed over.
    ///
    /// # Errors
    /// The name that is missing or of another shape.
    pub fn values_of(&self, tensors: &[NamedTensor]) -> Result<Vec<f32>, String> {
        let mut values = Vec::with_capacity(self.parameters());
        for slot in &self.slots {
            let found = tensors.iter().find(|tensor| tensor.name == slot.name && tensor.shape == slot.shape);
            match found.map(|tensor| &tensor.values) {
                Some(TensorValues::F32(found)) => values.extend_from_slice(found),
                _ => return Err(slot.name.clone()),
            }
        }
        Ok(values)
    }

    /// Host values as named tensors.
    pub fn named(&self, values: &[f32]) -> Vec<NamedTensor> {
        let named = |Slot { name, shape, range }: &Slot| NamedTensor {
            name: name.clone(),
            shape: shape.clone(),
            values: TensorValues::F32(values[range.clone()].to_vec()),
        };
        self.slots.iter().map(named).collect()
    }

    /// A vector as weights that are constants of any graph.
    pub fn weights(&self, vector: &Tensor<1>) -> Weights {
        let mut slots = self.slots.iter();
        let mut next = || {
            let slot = slots.next().expect("the slots are those of the form");
            (vector.clone().slice([slot.range.clone()]), slot.shape.clone())
        };
        let (mut convolutions, mut norms) = (Vec::new(), Vec::new());
        for block in 0..self.form.widths.len() {
            let before = self.form.norm_before_conv;
            let has_norm = self.form.has_norm(block);
            let first = (has_norm && before).then(|| (next().0, next().0));
            let (weight, shape) = next();
            convolutions.push((weight.reshape([shape[0], shape[1], shape[2], shape[3]]), next().0));
            norms.push(first.or_else(|| has_norm.then(|| (next().0, next().0))));
        }
        let (weight, shape) = next();
        let classifier = (weight.reshape([shape[0], shape[1]]), next().0);
        Weights { convolutions, norms, classifier }
    }

    /// A vector as weights whose gradient is asked for. Biases that normalization takes out again stay constants where
    /// `by_own_statistics`: what would be found of them is rounding.
    pub(crate) fn tracked(&self, vector: &Tensor<1>, by_own_statistics: bool) -> Weights {
        fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
            tensor.autodiff().require_grad()
        }
        let is_inert = by_own_statistics && self.form.has_inert_bias();
        let Weights { convolutions, norms, classifier } = self.weights(vector);
        let convolution = |(weight, bias)| (leaf(weight), if is_inert { bias } else { leaf(bias) });
        let norm = |norm: Option<(_, _)>| norm.map(|(gamma, beta)| (leaf(gamma), leaf(beta)));
        Weights {
            convolutions: convolutions.into_iter().map(convolution).collect(),
            norms: norms.into_iter().map(norm).collect(),
            classifier: (leaf(classifier.0), leaf(classifier.1)),
        }
    }
}

impl Weights {
    /// The gradient of all tensors as a vector, 0 where there is none.
    pub(crate) fn gradient(&self, gradients: &Gradients, function: &Function) -> Tensor<1> {
        fn of<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Tensor<1> {
            let found = if tensor.device().is_autodiff() { tensor.grad(gradients) } else { None };
            let zeros = || Tensor::zeros(tensor.dims(), &tensor.device().without_autodiff());
            let found: Tensor<D> = found.unwrap_or_else(zeros);
            let count = found.dims().iter().product::<usize>();
            found.reshape([count])
        }
        let mut parts = Vec::new();
        for ((weight, bias), norm) in self.convolutions.iter().zip(&self.norms) {
            let norm = norm.iter().flat_map(|(gamma, beta)| [of(gamma, gradients), of(beta, gradients)]);
            let conv = [of(weight, gradients), of(bias, gradients)];
            match function.form.norm_before_conv {
                true => parts.extend(norm.chain(conv)),
                false => parts.extend(conv.into_iter().chain(norm)),
            }
        }
        parts.extend([of(&self.classifier.0, gradients), of(&self.classifier.1, gradients)]);
        Tensor::cat(parts, 0)
    }
}

fn truncated_normal(rng: &mut impl RngExt) -> f64 {
    loop {
        let value: f64 = rng.sample(StandardNormal);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

//! Burn's optimizers in one pass over a tensor. On the CPU its own take about ten on one thread; here a task takes some thousand
//! weights through the whole update, with the same sums in the same order: the same bits. Other backends run Burn's operations.
//! States are saved as Burn's are.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::optim::{Adam, AdamConfig, AdamState, AdamW, AdamWConfig, AdamWState};
use burn::optim::{AdaptiveMomentumState, Optimizer, RecordState, StateSink, StateSource, join_path};
use burn::tensor::{DType, Device, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// A tensor of the CPU backend.
type Values = FloatTensor<Flex>;

/// Weights of a task; four tensors of them fit into the cache of a core.
const CHUNK: usize = 1 << 14;

/// Adam or AdamW.
#[derive(Clone)]
pub(crate) struct Adaptive {
    betas: [f32; 2],
    epsilon: f32,
    burn: Burn,
}

/// What other backends run.
#[derive(Clone)]
enum Burn {
    Adam(Adam),
    AdamW(AdamW, f32),
}

impl Adaptive {
    /// Adam without weight decay.
    pub(crate) fn adam(betas: [f32; 2], epsilon: f32) -> Self {
        let adam = AdamConfig::new().with_beta_1(betas[0]).with_beta_2(betas[1]).with_epsilon(epsilon);
        Self { betas, epsilon, burn: Burn::Adam(adam.build()) }
    }

    /// AdamW.
    pub(crate) fn adamw(betas: [f32; 2], epsilon: f32, weight_decay: f32) -> Self {
        let adamw = AdamWConfig::new()
            .with_beta_1(betas[0])
            .with_beta_2(betas[1])
            .with_epsilon(epsilon)
            .with_weight_decay(weight_decay)
            .with_cautious_weight_decay(false)
            .with_amsgrad(false);
        Self { betas, epsilon, burn: Burn::AdamW(adamw.build(), weight_decay) }
    }
}

impl Optimizer for Adaptive {
    /// Adam's has the same fields.
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        if !is_one_pass(&tensor) {
            return match &self.burn {
                Burn::AdamW(adamw, _) => adamw.step(lr, tensor, grad, state),
                Burn::Adam(adam) => {
                    let state = state.map(|state| AdamState::new(state.momentum));
                    let (tensor, state) = adam.step(lr, tensor, grad, state);
                    (tensor, state.map(|state| AdamWState::new(state.momentum)))
                }
            };
        }
        let (time, moments) = match state.map(|state| state.momentum) {
            Some(momentum) => (momentum.time + 1, [Some(momentum.moment_1), Some(momentum.moment_2)]),
            None => (1, [None, None]),
        };
        let [beta_1, beta_2] = self.betas;
        let [factor_1, factor_2] = self.betas.map(|beta| 1.0 - beta);
        let [correction_1, correction_2] = self.betas.map(|beta| 1.0 - beta.powi(time as i32));
        let (epsilon, rate) = (self.epsilon, lr as f32);
        let average = move |grad: f32, [first, second]: &mut [f32; 2]| {
            *first = *first * beta_1 + grad * factor_1;
            *second = *second * beta_2 + grad * grad * factor_2;
        };
        let (tensor, [moment_1, moment_2]) = match self.burn {
            Burn::AdamW(_, weight_decay) => {
                let kept = (1.0 - lr * f64::from(weight_decay)) as f32;
                one_pass(tensor, grad, moments, move |weight, grad, moments| {
                    average(grad, moments);
                    let [first, second] = [moments[0] / correction_1, moments[1] / correction_2];
                    weight * kept - first / (second.sqrt() + epsilon) * rate
                })
            }
            Burn::Adam(_) => {
                let root = correction_2.sqrt();
                let (factor, epsilon) = (root / correction_1, epsilon * root);
                one_pass(tensor, grad, moments, move |weight, grad, moments| {
                    average(grad, moments);
                    weight - moments[0] * factor / (moments[1].sqrt() + epsilon) * rate
                })
            }
        };
        (tensor, Some(AdamWState::new(AdaptiveMomentumState::new(time, moment_1, moment_2))))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// PyTorch's SGD: no dampening. A momentum or weight decay of 0 is none.
#[derive(Clone)]
pub(crate) struct Sgd {
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
    pub(crate) weight_decay: f32,
}

/// As Burn saves it, which has no way to take the velocity out of its own.
#[derive(Clone)]
pub(crate) struct SgdState<const D: usize>(Option<Tensor<D>>);

impl<const D: usize> RecordState for SgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        if let Some(velocity) = &self.0 {
            out.push_tensor(&join_path(prefix, "momentum"), "velocity", velocity.to_data());
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let velocity = src.take_tensor(&join_path(prefix, "momentum"), "velocity");
        Some(Self(velocity.map(|velocity| Tensor::from_data(velocity, device))))
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        let velocity = state.and_then(|state| state.0);
        let &Self { momentum, nesterov, weight_decay } = self;
        if momentum <= 0.0 || !is_one_pass(&tensor) {
            return self.by_operations(lr, tensor, grad, velocity);
        }
        let rate = lr as f32;
        let (tensor, [velocity]) = one_pass(tensor, grad, [velocity], move |weight, grad, [velocity]| {
            let grad = if weight_decay > 0.0 { weight * weight_decay + grad } else { grad };
            *velocity = grad + *velocity * momentum;
            weight - if nesterov { *velocity * momentum + grad } else { *velocity } * rate
        });
        (tensor, Some(SgdState(Some(velocity))))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        SgdState(state.0.map(|velocity| velocity.to_device(device)))
    }
}

impl Sgd {
    fn by_operations<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        mut grad: Tensor<D>,
        velocity: Option<Tensor<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        if self.weight_decay > 0.0 {
            grad = tensor.clone().mul_scalar(self.weight_decay) + grad;
        }
        if self.momentum <= 0.0 {
            return (tensor - grad.mul_scalar(lr), Some(SgdState(None)));
        }
        let velocity = match velocity {
            Some(velocity) => grad.clone() + velocity.mul_scalar(self.momentum),
            None => grad.clone(),
        };
        let moved = velocity.clone();
        let moved = if self.nesterov { moved.mul_scalar(self.momentum) + grad } else { moved };
        (tensor - moved.mul_scalar(lr), Some(SgdState(Some(velocity))))
    }
}

fn is_one_pass<const D: usize>(tensor: &Tensor<D>) -> bool {
    delt_device::is_cpu(&tensor.device()) && tensor.dtype() == DType::F32
}

/// The weights and their moments after `update`, which returns a weight, has changed all of them; written in place where nothing
/// else holds them. Moments that are not there yet start at -0, which changes no sum.
fn one_pass<const D: usize, const N: usize>(
    tensor: Tensor<D>,
    grad: Tensor<D>,
    moments: [Option<Tensor<D>>; N],
    update: impl Fn(f32, f32, &mut [f32; N]) -> f32 + Sync,
) -> (Tensor<D>, [Tensor<D>; N]) {
    let shape = tensor.shape();
    let mut moments = moments.map(|moment| match moment {
        Some(moment) => values(moment),
        None => Values::filled_typed(shape.clone(), DType::F32, -0.0_f32),
    });
    let (mut weights, grad) = (values(tensor), values(grad));
    let mut parts = moments.each_mut().map(|moment| moment.storage_mut::<f32>().chunks_mut(CHUNK));
    let grads = grad.storage::<f32>().chunks(CHUNK);
    let tasks = weights.storage_mut::<f32>().chunks_mut(CHUNK).zip(grads);
    let mut tasks: Vec<_> = tasks
        .map(|(weights, grads)| {
            let moments = parts.each_mut().map(|parts| parts.next().expect("as many as weights"));
            Task { weights, grads, moments, update: &update }
        })
        .collect();
    match tasks.len() {
        // waking the threads would take longer
        1 => tasks.drain(..).for_each(|task| Arch::new().dispatch(task)),
        _ => tasks.into_par_iter().for_each(|task| Arch::new().dispatch(task)),
    }
    (Tensor::from_primitive::<Flex>(weights), moments.map(Tensor::from_primitive::<Flex>))
}

/// The values of a tensor, and no others in what holds them.
fn values<const D: usize>(tensor: Tensor<D>) -> Values {
    let values = tensor.try_into_primitive::<Flex>().expect("a tensor of the CPU backend");
    let is_whole = values.layout().contiguous_offsets() == Some((0, values.storage::<f32>().len()));
    if is_whole { values } else { Values::from_data(values.into_data()) }
}

struct Task<'a, F, const N: usize> {
    weights: &'a mut [f32],
    grads: &'a [f32],
    moments: [&'a mut [f32]; N],
    update: &'a F,
}

impl<F: Fn(f32, f32, &mut [f32; N]) -> f32, const N: usize> WithSimd for Task<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { weights, grads, moments, update } = self;
        let count = weights.len();
        let (grads, mut moments) = (&grads[..count], moments.map(|moment| &mut moment[..count]));
        for at in 0..count {
            let mut values = moments.each_ref().map(|moment| moment[at]);
            weights[at] = update(weights[at], grads[at], &mut values);
            for (moment, value) in moments.iter_mut().zip(values) {
                moment[at] = value;
            }
        }
    }
}

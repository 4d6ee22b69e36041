//! The optimizers of images, labels and learned numbers: a whole tensor each, with the published constants written out.

use burn::tensor::{Tensor, TensorData};
use delt_formats::{NamedTensor, TensorValues};
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_training::schedule::cosine;

use crate::MatchingError;

/// Learning rate of an iteration, counted from 0: it falls along a cosine to its final share, where there is one.
pub fn learning_rate(rule: &Rule, iteration: u64, iterations: u64) -> f64 {
    let left = |share: f64| share + (1.0 - share) * cosine(iteration.min(iterations), iterations.max(1));
    rule.lr() * rule.final_share().map_or(1.0, left)
}

/// An optimizer of one tensor, with what it remembers.
#[derive(Debug, Clone)]
pub struct ImageOptimizer<const D: usize> {
    rule: Rule,
    /// Momentum, or first and second moment.
    moments: Vec<Tensor<D>>,
    /// Steps taken.
    steps: u64,
}

impl<const D: usize> ImageOptimizer<D> {
    /// An optimizer without history, for tensors like this one.
    pub fn new(rule: Rule, values: &Tensor<D>) -> Self {
        let moments = if matches!(rule, Rule::Sgd { .. }) { 1 } else { 2 };
        let zeros = values.clone().without_autodiff().zeros_like();
        Self { rule, moments: vec![zeros; moments], steps: 0 }
    }

    /// The values after a step along their gradient.
    pub fn step(&mut self, values: Tensor<D>, gradient: Tensor<D>, lr: f64) -> Tensor<D> {
        self.steps += 1;
        match self.rule {
            Rule::Sgd { momentum, .. } => {
                let moved = self.moments[0].clone().mul_scalar(momentum) + gradient;
                self.moments[0] = moved.clone();
                values - moved.mul_scalar(lr)
            }
            Rule::Adam { beta_1, beta_2, epsilon, .. } => {
                let change = self.adaptive(gradient, [beta_1, beta_2], [0.0, epsilon]);
                values - change.mul_scalar(lr)
            }
            Rule::Lamb { beta_1, beta_2, epsilon, .. } => {
                let change = self.adaptive(gradient, [beta_1, beta_2], [0.0, epsilon]);
                let trust = trust_ratio(&values, &change).mul_scalar(lr);
                values - change * trust
            }
            Rule::Adabelief { beta_1, beta_2, epsilon, epsilon_root, .. } => {
                let change = self.adaptive(gradient, [beta_1, beta_2], [epsilon_root, epsilon]);
                values - change.mul_scalar(lr)
            }
        }
    }

    /// Moves the moments and gives `m / (√(v + below) + beside)`, both corrected for their start at zero.
    fn adaptive(&mut self, gradient: Tensor<D>, betas: [f64; 2], [below, beside]: [f64; 2]) -> Tensor<D> {
        let decayed = |old: &Tensor<D>, new: Tensor<D>, beta: f64| {
            old.clone().mul_scalar(beta) + new.mul_scalar(1.0 - beta)
        };
        let first = decayed(&self.moments[0], gradient.clone(), betas[0]);
        let believes = matches!(self.rule, Rule::Adabelief { .. });
        let measured = if believes { gradient - first.clone() } else { gradient };
        let second = decayed(&self.moments[1], measured.clone() * measured, betas[1]);
        self.moments = vec![first.clone(), second.clone()];
        let steps = self.steps.min(i32::MAX as u64) as i32;
        let [first_share, second_share] = betas.map(|beta| 1.0 - beta.powi(steps));
        let mut second = second.div_scalar(second_share);
        if below > 0.0 {
            second = second.add_scalar(below);
        }
        first.div_scalar(first_share) / second.sqrt().add_scalar(beside)
    }

    /// What a checkpoint keeps: the moments, and the steps taken.
    ///
    /// # Errors
    /// Where the device does not return the moments.
    pub fn state(&self, name: &str) -> Result<Vec<NamedTensor>, MatchingError> {
        let steps = TensorValues::I64(vec![self.steps as i64]);
        let mut state = vec![NamedTensor { name: format!("{name}.steps"), shape: Vec::new(), values: steps }];
        for (at, moment) in self.moments.iter().enumerate() {
            let name = format!("{name}.moment.{at}");
            let values = moment.clone().try_into_vec_as::<f32>();
            let values = values.map_err(|source| MatchingError::Read { what: name.clone(), source })?;
            let shape = moment.dims().to_vec();
            state.push(NamedTensor { name, shape, values: TensorValues::F32(values) });
        }
        Ok(state)
    }

    /// Takes up a state of [`Self::state`] again.
    ///
    /// # Errors
    /// Where one of its tensors is not there, or of another shape.
    pub fn restore(&mut self, name: &str, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        let find = |name: &str, expected: String| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            let found = tensor.map_or_else(
                || format!("no tensor `{name}`"),
                |tensor| format!("tensor `{name}` of shape {:?}", tensor.shape),
            );
            (tensor.map(|tensor| (&tensor.values, &tensor.shape)), MatchingError::State { found, expected })
        };
        for (at, moment) in self.moments.iter_mut().enumerate() {
            let shape = moment.dims();
            match find(&format!("{name}.moment.{at}"), format!("floats of shape {shape:?}")) {
                (Some((TensorValues::F32(values), found)), _) if *found == shape => {
                    *moment = Tensor::from_data(TensorData::new(values.clone(), shape), &moment.device());
                }
                (_, error) => return Err(error),
            }
        }
        match find(&format!("{name}.steps"), "one whole number".to_owned()) {
            (Some((TensorValues::I64(steps), _)), _) if steps.len() == 1 => self.steps = steps[0] as u64,
            (_, error) => return Err(error),
        }
        Ok(())
    }
}

/// The norm of the values over that of the change, 1 where one of them is 0.
fn trust_ratio<const D: usize>(values: &Tensor<D>, change: &Tensor<D>) -> Tensor<D> {
    let [values, change] = [values, change].map(norm);
    let is_zero = values.clone().equal_elem(0.0).bool_or(change.clone().equal_elem(0.0));
    (values / change).mask_fill(is_zero, 1.0).reshape([1; D])
}

/// The Euclidean norm, row by row first: Burn sums a large tensor at once in an order of chance.
fn norm<const D: usize>(tensor: &Tensor<D>) -> Tensor<1> {
    let rows = if D > 1 { tensor.dims()[0] } else { 1 };
    let values = tensor.dims().iter().product::<usize>();
    let rows = tensor.clone().reshape([rows, values / rows.max(1)]);
    (rows.clone() * rows).sum_dim(1).sum().sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const ADAM: Rule = Rule::Adam { lr: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, final_share: None };
    const BELIEF: Rule = Rule::Adabelief {
        lr: 0.1,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-16,
        epsilon_root: 1e-16,
        final_share: None,
    };
    const LAMB: Rule =
        Rule::Lamb { lr: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-6, final_share: Some(0.1) };

    fn tensor(values: [f32; 4]) -> Tensor<2> {
        Tensor::from_data([[values[0], values[1]], [values[2], values[3]]], &Device::flex())
    }

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("numbers")
    }

    #[test]
    fn a_resumed_optimizer_takes_the_same_steps() {
        let rules = [Rule::Sgd { lr: 0.1, momentum: 0.5, final_share: None }, ADAM, LAMB, BELIEF];
        for rule in rules {
            let start = tensor([1.0, -2.0, 3.0, 0.5]);
            let gradients = [[0.3, -0.1, 0.2, 0.4], [0.1, 0.5, -0.6, 0.2]].map(tensor);
            let mut optimizer = ImageOptimizer::new(rule, &start);
            let between = optimizer.step(start.clone(), gradients[0].clone(), 0.1);
            let state = optimizer.state("images").expect("a state");
            let mut resumed = ImageOptimizer::new(rule, &start);
            resumed.restore("images", &state).expect("restores");
            let [ours, theirs] = [&mut optimizer, &mut resumed]
                .map(|optimizer| values(optimizer.step(between.clone(), gradients[1].clone(), 0.1)));
            assert_eq!(ours, theirs, "{rule:?}");
            assert!(ours.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn adams_first_step_is_the_sign_of_the_gradient() {
        let start = tensor([0.0; 4]);
        let mut optimizer = ImageOptimizer::new(ADAM, &start);
        let moved = values(optimizer.step(start, tensor([3.0, -0.2, 1e-3, -7.0]), 0.1));
        for (value, sign) in moved.iter().zip([-1.0, 1.0, -1.0, 1.0]) {
            assert!((value - 0.1 * sign).abs() < 1e-5, "{value}");
        }
    }

    #[test]
    fn what_is_zero_moves_by_lamb_too_and_no_gradient_moves_nothing() {
        let zero = tensor([0.0; 4]);
        let mut optimizer = ImageOptimizer::new(LAMB, &zero);
        assert_eq!(values(optimizer.step(zero.clone(), zero.clone(), 0.1)), [0.0; 4]);
        let mut optimizer = ImageOptimizer::new(LAMB, &zero);
        let moved = values(optimizer.step(zero, tensor([1.0; 4]), 0.1));
        assert!(moved.iter().all(|value| (value + 0.1).abs() < 1e-5), "{moved:?}");
    }

    #[test]
    fn lambs_learning_rate_falls_to_its_share_and_others_stay() {
        assert!((learning_rate(&LAMB, 0, 100) - 0.1).abs() < 1e-12);
        assert!((learning_rate(&LAMB, 50, 100) - 0.055).abs() < 1e-12);
        assert!((learning_rate(&LAMB, 100, 100) - 0.01).abs() < 1e-12);
        assert!((learning_rate(&ADAM, 50, 100) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_state_of_another_shape_is_refused_by_name() {
        let mut optimizer = ImageOptimizer::new(ADAM, &tensor([0.0; 4]));
        let mut state = optimizer.state("images").expect("a state");
        state[2].shape = vec![4];
        let message = optimizer.restore("images", &state).expect_err("refused").to_string();
        let expected = "checkpoint: tensor `images.moment.1` of shape [4], expected floats of shape [2, 2]; remove the \
            checkpoint to start over";
        assert_eq!(message, expected);
        let message = optimizer.restore("labels", &state).expect_err("refused").to_string();
        assert!(message.contains("no tensor `labels.moment.0`"), "{message}");
    }
}

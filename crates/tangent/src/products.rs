//! Gradients, and products with second derivatives by one backward pass over the tangent.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};

use crate::forward::{Dual, Norms, Statistics};
use crate::function::{Function, Weights};

/// A loss and its gradient on the weights.
#[derive(Debug)]
pub struct Gradient {
    /// `[1]`.
    pub loss: Tensor<1>,
    /// `[parameters]`.
    pub weights: Tensor<1>,
}

/// What else than the images a product is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// H v.
    pub weights: bool,
    /// ∇y <v, g>.
    pub targets: bool,
}

/// Derivatives of <v, g(θ, x, y)>, where g is the gradient of the mean cross-entropy on the weights.
#[derive(Debug)]
pub struct Product {
    /// <v, g> itself, `[1]`.
    pub value: Tensor<1>,
    /// On the images, `[n, 3, size, size]`.
    pub images: Tensor<4>,
    /// H v, `[parameters]`, where wanted.
    pub weights: Option<Tensor<1>>,
    /// On the targets, `[n, classes]`, where wanted.
    pub targets: Option<Tensor<2>>,
}

/// The sum of all values, row by row first: Burn sums many at once in an order of chance.
pub fn total(values: Tensor<2>) -> Tensor<1> {
    values.sum_dim(1).sum_dim(0).reshape([1])
}

/// <a, b> of two vectors, in a fixed order as [`total`].
pub fn dot(a: &Tensor<1>, b: &Tensor<1>) -> Tensor<1> {
    const ROW: usize = 1024;
    let products = a.clone() * b.clone();
    let [count] = products.dims();
    let whole = count / ROW * ROW;
    let rest = total(products.clone().narrow(0, whole, count - whole).reshape([1, count - whole]));
    if whole == 0 { rest } else { total(products.narrow(0, 0, whole).reshape([whole / ROW, ROW])) + rest }
}

/// −mean over images of Σ_c y_c log softmax_c. Targets `[n, classes]` need not sum to 1.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let [n, _] = logits.dims();
    -total(targets * log_softmax(logits, 1)) / n as f64
}

/// The derivative of [`cross_entropy`] along the direction: −mean Σ_c y_c (ȯ_c − Σ_k softmax(o)_k ȯ_k).
pub fn cross_entropy_dot(dual: &Dual, targets: Tensor<2>) -> Tensor<1> {
    let (logits, dot) = (dual.value.logits.clone(), dual.dot.logits.clone());
    let [n, _] = logits.dims();
    let mean = (softmax(logits, 1) * dot.clone()).sum_dim(1);
    -total(targets * (dot - mean)) / n as f64
}

impl Function {
    /// The mean cross-entropy of plain images and targets, and its gradient on the weights.
    ///
    /// # Shapes
    /// `theta`: `[parameters]`; `x`: `[n, 3, size, size]`; `targets`: `[n, classes]`.
    pub fn gradient(
        &self,
        theta: &Tensor<1>,
        x: Tensor<4>,
        targets: Tensor<2>,
        norms: Norms<'_>,
    ) -> Gradient {
        self.gradient_of(theta, x, norms, |logits| cross_entropy(logits, targets))
    }

    /// The gradient of any loss of the logits.
    pub fn gradient_of(
        &self,
        theta: &Tensor<1>,
        x: Tensor<4>,
        norms: Norms<'_>,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> Gradient {
        let weights = self.tracked(theta, matches!(norms, Norms::Own));
        let logits = self.forward(&weights, x, norms).logits;
        self.backward(&weights, loss(logits))
    }

    /// As [`Self::gradient_of`] by the batch's own statistics, which are returned: training mode of batch normalization.
    pub fn gradient_in_training(
        &self,
        theta: &Tensor<1>,
        x: Tensor<4>,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> (Gradient, Vec<Statistics>) {
        let weights = self.tracked(theta, true);
        let (pass, statistics) = self.forward_with_statistics(&weights, x, Norms::Own);
        (self.backward(&weights, loss(pass.logits)), statistics)
    }

    fn backward(&self, weights: &Weights, loss: Tensor<1>) -> Gradient {
        let gradients = loss.clone().backward();
        Gradient { loss: loss.inner(), weights: weights.gradient(&gradients, self) }
    }

    /// Jᵀu: the gradient on the weights of Σ logits ∘ `cotangent`.
    pub fn pulled_back(
        &self,
        theta: &Tensor<1>,
        x: Tensor<4>,
        cotangent: Tensor<2>,
        norms: Norms<'_>,
    ) -> Tensor<1> {
        self.gradient_of(theta, x, norms, |logits| total(logits * cotangent)).weights
    }

    /// The gradients of <v, g(θ, A(x), y)> on the images before the augmentation `view`, and on what else is wanted.
    ///
    /// # Shapes
    /// As [`Self::gradient`]; `direction`: `[parameters]`.
    pub fn product(
        &self,
        (theta, direction): (&Tensor<1>, &Tensor<1>),
        (x, view): (Tensor<4>, &dyn Fn(Tensor<4>) -> Tensor<4>),
        targets: Tensor<2>,
        norms: Norms<'_>,
        wanted: Wanted,
    ) -> Product {
        let by_own = matches!(norms, Norms::Own);
        let weights = if wanted.weights { self.tracked(theta, by_own) } else { self.weights(theta) };
        let x = x.autodiff().require_grad();
        let targets = if wanted.targets { targets.autodiff().require_grad() } else { targets };
        let dual = self.tangent(&weights, &self.weights(direction), view(x.clone()), norms);
        let value = cross_entropy_dot(&dual, targets.clone());
        let gradients = value.clone().backward();
        Product {
            value: value.inner(),
            images: x.grad(&gradients).unwrap_or_else(|| x.clone().inner().zeros_like()),
            weights: wanted.weights.then(|| weights.gradient(&gradients, self)),
            targets: wanted
                .targets
                .then(|| targets.grad(&gradients).unwrap_or_else(|| targets.clone().inner().zeros_like())),
        }
    }
}

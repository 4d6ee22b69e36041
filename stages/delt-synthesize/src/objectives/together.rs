//! Several networks at once, weighted: the objective of a batch where they take no turns (CV-DD).

use std::sync::Arc;

use burn::tensor::Tensor;
use delt_pipeline::config::synthesize::Synthesize;

use super::{Loss, Moment, Objective};

/// The weighted sum of the losses of several objectives.
#[derive(Debug)]
pub struct Together {
    first: (f64, Arc<dyn Objective>),
    others: Vec<(f64, Arc<dyn Objective>)>,
}

impl Together {
    /// Of weights with their objectives; none of none.
    pub fn new(parts: impl IntoIterator<Item = (f64, Arc<dyn Objective>)>) -> Option<Self> {
        let mut parts = parts.into_iter();
        Some(Self { first: parts.next()?, others: parts.collect() })
    }
}

impl Objective for Together {
    fn loss(&self, moment: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        let weighted = |(weight, objective): &(f64, Arc<dyn Objective>)| {
            let Loss { total, target, statistics } = objective.loss(moment, images.clone(), labels, config);
            let [total, target, statistics] = [total, target, statistics].map(|it| it.mul_scalar(*weight));
            Loss { total, target, statistics }
        };
        self.others.iter().map(weighted).fold(weighted(&self.first), |sum, other| Loss {
            total: sum.total + other.total,
            target: sum.target + other.target,
            statistics: sum.statistics + other.statistics,
        })
    }
}

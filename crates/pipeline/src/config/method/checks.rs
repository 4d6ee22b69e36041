//! What the numbers of a method may be.

use super::{
    Clip, DistributionMatching, Frepo, GradientMatching, InnerAdam, LrControl, Method, RatBptt, Rcig,
    TrajectoryMatching,
};
use crate::config::{Invalid, range};

/// The dotted path of a number.
fn at(key: &str) -> String {
    format!("synthesize.method.{key}")
}

/// A number of images, steps or networks.
fn count(key: &str, value: u32, most: u32) -> Result<(), Invalid> {
    range::require(value > 0, at(key), 0, "at least 1")?;
    range::at_most(at(key), value, most)
}

/// Images of a batch.
fn images(key: &str, value: u32) -> Result<(), Invalid> {
    count(key, value, range::MOST_BATCH)
}

/// Steps of a training.
fn steps(key: &str, value: u32) -> Result<(), Invalid> {
    count(key, value, range::MOST_ITERATIONS)
}

/// Networks that are kept side by side.
fn networks(key: &str, value: u32) -> Result<(), Invalid> {
    count(key, value, range::MOST_NETWORKS)
}

fn positive(key: &str, value: f64) -> Result<(), Invalid> {
    range::POSITIVE.check(at(key), value)
}

impl Method {
    /// Refuses numbers that mean nothing, for sets of `ipc` images per class.
    pub(in crate::config) fn validate(self, ipc: u32) -> Result<(), Invalid> {
        match self {
            Self::EarlyLate {} => Ok(()),
            Self::DistributionMatching(DistributionMatching { real_batch }) => {
                images("real_batch", real_batch)
            }
            Self::GradientMatching(it) => it.validate(),
            Self::TrajectoryMatching(it) => it.validate(),
            Self::RatBptt(it) => it.validate(ipc),
            Self::Frepo(it) => it.validate(),
            Self::Rcig(it) => it.validate(),
        }
    }
}

impl GradientMatching {
    fn validate(&self) -> Result<(), Invalid> {
        images("real_batch", self.real_batch)?;
        steps("outer", self.outer)?;
        range::at_most(at("inner_epochs"), self.inner_epochs, range::MOST_EPOCHS)?;
        positive("network_lr", self.network_lr)?;
        images("network_batch", self.network_batch)?;
        self.statistics_batch.map_or(Ok(()), |batch| images("statistics_batch", batch))
    }
}

impl TrajectoryMatching {
    fn validate(&self) -> Result<(), Invalid> {
        steps("steps", self.steps)?;
        count("expert_epochs", self.expert_epochs, range::MOST_EPOCHS)?;
        count("max_start_epoch", self.max_start_epoch, range::MOST_EPOCHS)?;
        positive("lr", self.lr)?;
        range::NOT_NEGATIVE.check(at("lr_step.lr"), self.lr_step.lr)?;
        range::BELOW_ONE.check(at("lr_step.momentum"), self.lr_step.momentum)?;
        self.batch.map_or(Ok(()), |batch| images("batch", batch))
    }
}

impl RatBptt {
    fn validate(&self, ipc: u32) -> Result<(), Invalid> {
        let Self { inner: InnerAdam { lr, beta_1, beta_2, epsilon }, clip: Clip { factor, decay }, .. } =
            *self;
        positive("inner.lr", lr)?;
        range::BELOW_ONE.check(at("inner.beta_1"), beta_1)?;
        range::BELOW_ONE.check(at("inner.beta_2"), beta_2)?;
        positive("inner.epsilon", epsilon)?;
        steps("steps", self.steps)?;
        let fits = (1..=self.steps).contains(&self.window);
        let expected = format!("1 to {} (steps), of which the window is the last ones", self.steps);
        range::require(fits, at("window"), self.window, expected)?;
        images("real_batch", self.real_batch)?;
        if let Some(images) = self.images_per_class {
            let expected = format!("1 to {ipc} (select.ipc); leave it out to take them all");
            range::require((1..=ipc).contains(&images), at("images_per_class"), images, expected)?;
        }
        if let Some(classes) = self.classes {
            images("classes", classes)?;
        }
        positive("clip.factor", factor)?;
        range::BELOW_ONE.check(at("clip.decay"), decay)
    }
}

impl Frepo {
    fn validate(&self) -> Result<(), Invalid> {
        images("real_batch", self.real_batch)?;
        positive("ridge", self.ridge)?;
        networks("pool", self.pool)?;
        range::at_most(at("pool_spacing"), self.pool_spacing, range::MOST_ITERATIONS)?;
        steps("pool_steps", self.pool_steps)?;
        positive("network_lr", self.network_lr)?;
        images("train_batch", self.train_batch)?;
        range::SHARE.check(at("bn_momentum"), self.bn_momentum)
    }
}

impl Rcig {
    fn validate(&self) -> Result<(), Invalid> {
        images("real_batch", self.real_batch)?;
        positive("l2", self.l2)?;
        steps("inner_steps", self.inner_steps)?;
        steps("inverse_steps", self.inverse_steps)?;
        positive("inner_lr", self.inner_lr)?;
        positive("inverse_lr", self.inverse_lr)?;
        self.lr_control.validate()?;
        networks("pool", self.pool)?;
        steps("pool_steps", self.pool_steps)?;
        steps("network_steps", self.network_steps)?;
        positive("network_lr", self.network_lr)?;
        self.softplus.map_or(Ok(()), |beta| positive("softplus", beta))?;
        range::FINITE.check(at("log_temperature.start"), self.log_temperature.start)?;
        range::NOT_NEGATIVE.check(at("log_temperature.lr"), self.log_temperature.lr)?;
        self.partial.map_or(Ok(()), |batch| images("partial", batch))?;
        self.ema.map_or(Ok(()), |decay| range::BETWEEN.check(at("ema"), decay))
    }
}

impl LrControl {
    fn validate(&self) -> Result<(), Invalid> {
        let at = |key: &str| at(&format!("lr_control.{key}"));
        for (key, factor) in [("raise", self.raise), ("higher", self.higher)] {
            let fits = factor > 1.0 && factor.is_finite();
            range::require(fits, at(key), factor, "a finite factor above 1")?;
        }
        for (key, factor) in [("retreat", self.retreat), ("lower", self.lower)] {
            range::SHARE.check(at(key), factor)?;
        }
        for (key, share) in [("diverged", self.diverged), ("fell", self.fell)] {
            range::SHARE.check(at(key), share)?;
        }
        range::require(self.every > 0, at("every"), 0, "at least 1")
    }
}

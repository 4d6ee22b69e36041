//! VGG and AlexNet with torchvision's names: convolutions in one `Sequential`, three linear layers in another.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Convolution, Window};
use crate::start::{Rule, Rules};

/// Convolutions between the five poolings, by their channels: torchvision's configuration A.
pub(crate) const VGG11: &[&[usize]] = &[&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];

/// Configuration D.
pub(crate) const VGG16: &[&[usize]] =
    &[&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// Features of the two hidden linear layers.
const HIDDEN: usize = 4096;
const DROPOUT: f64 = 0.5;

pub(crate) struct Vgg {
    pub(crate) groups: &'static [&'static [usize]],
    pub(crate) has_norm: bool,
    pub(crate) published_lr: Option<f64>,
}

impl Family for Vgg {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let (mut x, mut place) = (image, 0);
        for group in self.groups {
            for &channels in *group {
                x = convolution(network, place, x, channels, Convolution::same(3, 1));
                if self.has_norm {
                    place += 1;
                    x = network.batch_norm(&format!("features.{place}"), x);
                }
                x = network.relu(x);
                place += 2;
            }
            x = network.max_pool(x, Window::HALVES);
            place += 1;
        }
        x = network.adaptive_average_pool(x, 7);
        x = network.flatten(x);
        for name in ["classifier.0", "classifier.3"] {
            x = network.linear(name, x, HIDDEN);
            x = network.relu(x);
            x = network.dropout(x, DROPOUT);
        }
        network.linear("classifier.6", x, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        self.published_lr
    }

    fn rules(&self) -> Rules {
        Rules {
            convolution: Rule::KaimingNormalFanOut,
            convolution_bias: Rule::Zero,
            linear: Rule::Normal(0.01),
            linear_bias: Rule::Zero,
            ..Rules::default()
        }
    }

    fn least_size(&self) -> usize {
        32
    }
}

pub(crate) struct AlexNet;

/// Place, channels, window and whether a pooling follows.
const ALEXNET: [(usize, usize, Window, bool); 5] = [
    (0, 64, Window { kernel: 11, stride: 4, padding: 2 }, true),
    (3, 192, Window { kernel: 5, stride: 1, padding: 2 }, true),
    (6, 384, Window { kernel: 3, stride: 1, padding: 1 }, false),
    (8, 256, Window { kernel: 3, stride: 1, padding: 1 }, false),
    (10, 256, Window { kernel: 3, stride: 1, padding: 1 }, true),
];

impl Family for AlexNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = image;
        for (place, channels, window, is_pooled) in ALEXNET {
            x = convolution(network, place, x, channels, Convolution { window, ..Convolution::same(3, 1) });
            x = network.relu(x);
            if is_pooled {
                x = network.max_pool(x, Window { kernel: 3, stride: 2, padding: 0 });
            }
        }
        x = network.adaptive_average_pool(x, 6);
        x = network.flatten(x);
        for name in ["classifier.1", "classifier.4"] {
            x = network.dropout(x, DROPOUT);
            x = network.linear(name, x, HIDDEN);
            x = network.relu(x);
        }
        network.linear("classifier.6", x, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(1e-4)
    }

    fn least_size(&self) -> usize {
        63
    }
}

/// The convolution at this place of the `Sequential`, with bias.
pub(crate) fn convolution(
    network: &mut Builder,
    place: usize,
    x: Value,
    channels: usize,
    convolution: Convolution,
) -> Value {
    let convolution = Convolution { has_bias: true, ..convolution };
    network.convolution(&format!("features.{place}"), x, channels, convolution)
}

//! ResNet-18, AlexNet and VGG11 of the DC benchmark (Zhao et al., 2021), for cross-architecture tables. Published for 32 and
//! 64 px; at other sizes the classifier takes what is left of the image.

use crate::Norm;
use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Convolution, Window};
use crate::vgg::{VGG11, convolution};

/// Where published code makes a step of two in place of one.
const LARGE_PX: usize = 64;

/// ResNet-18 whose last map is pooled by windows of 4x4; with `pools` (ResNet-18-AP) poolings of 2x2 stand for steps of
/// two, and nothing is pooled at the end.
pub(crate) struct ResNet18 {
    pub(crate) norm: Norm,
    pub(crate) pools: bool,
}

impl ResNet18 {
    fn block(&self, network: &mut Builder, name: &str, x: Value, channels: usize) -> Value {
        let is_changing = x.channels() != channels;
        let stride = if is_changing && !self.pools { 2 } else { 1 };
        let is_pooled = is_changing && self.pools;
        let mut y = network.convolution(&format!("{name}.conv1"), x, channels, Convolution::same(3, stride));
        y = self.norm.add(network, &format!("{name}.bn1"), y);
        y = network.relu(y);
        if is_pooled {
            y = network.average_pool(y, Window::HALVES);
        }
        y = network.convolution(&format!("{name}.conv2"), y, channels, Convolution::same(3, 1));
        y = self.norm.add(network, &format!("{name}.bn2"), y);
        let mut shortcut = x;
        if is_changing {
            let convolution = Convolution::same(1, stride);
            shortcut = network.convolution(&format!("{name}.shortcut.0"), x, channels, convolution);
            if is_pooled {
                shortcut = network.average_pool(shortcut, Window::HALVES);
            }
            let place = if is_pooled { 2 } else { 1 };
            shortcut = self.norm.add(network, &format!("{name}.shortcut.{place}"), shortcut);
        }
        let sum = network.sum(y, shortcut);
        network.relu(sum)
    }
}

impl Family for ResNet18 {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let stride = if image.map.height >= LARGE_PX && !self.pools { 2 } else { 1 };
        let mut x = network.convolution("conv1", image, 64, Convolution::same(3, stride));
        x = self.norm.add(network, "bn1", x);
        x = network.relu(x);
        for (group, channels) in (1..).zip([64, 128, 256, 512]) {
            for block in 0..2 {
                x = self.block(network, &format!("layer{group}.{block}"), x, channels);
            }
        }
        if !self.pools {
            x = network.average_pool(x, Window { kernel: 4, stride: 4, padding: 0 });
        }
        let features = network.flatten(x);
        network.linear("classifier", features, classes);
    }

    fn least_size(&self) -> usize {
        if self.pools { 8 } else { 25 }
    }

    fn suffix(&self) -> String {
        self.norm.suffix().to_owned()
    }
}

pub(crate) struct AlexNet {
    pub(crate) norm: Norm,
}

/// Channels, kernel and whether a pooling follows.
const ALEXNET: [(usize, usize, bool); 5] =
    [(128, 5, true), (192, 5, true), (256, 3, false), (192, 3, false), (192, 3, true)];

impl Family for AlexNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let (mut x, mut place) = (image, 0);
        for (channels, kernel, is_pooled) in ALEXNET {
            let stride = if place == 0 && image.map.height >= LARGE_PX { 2 } else { 1 };
            x = convolution(network, place, x, channels, Convolution::same(kernel, stride));
            (x, place) = norm_relu_pool(network, self.norm, x, place, is_pooled);
        }
        let features = network.flatten(x);
        network.linear("fc", features, classes);
    }

    fn least_size(&self) -> usize {
        8
    }

    fn suffix(&self) -> String {
        self.norm.suffix().to_owned()
    }
}

pub(crate) struct Vgg11 {
    pub(crate) norm: Norm,
}

impl Family for Vgg11 {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let (mut x, mut place) = (image, 0);
        for group in VGG11 {
            for (index, &channels) in (1..).zip(*group) {
                x = convolution(network, place, x, channels, Convolution::same(3, 1));
                (x, place) = norm_relu_pool(network, self.norm, x, place, index == group.len());
            }
        }
        if image.map.height >= LARGE_PX {
            // a pooling of 1x1 windows
            x = network.subsample(x, 2);
        }
        let features = network.flatten(x);
        network.linear("classifier", features, classes);
    }

    fn least_size(&self) -> usize {
        32
    }

    fn suffix(&self) -> String {
        self.norm.suffix().to_owned()
    }
}

/// What follows the convolution at a place of the `Sequential`, and the place after it.
fn norm_relu_pool(
    network: &mut Builder,
    norm: Norm,
    x: Value,
    convolution: usize,
    is_pooled: bool,
) -> (Value, usize) {
    let mut x = norm.add(network, &format!("features.{}", convolution + 1), x);
    x = network.relu(x);
    if is_pooled {
        x = network.max_pool(x, Window::HALVES);
    }
    (x, convolution + 2 + usize::from(norm != Norm::None) + usize::from(is_pooled))
}

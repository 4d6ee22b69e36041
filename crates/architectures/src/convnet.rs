//! ConvNet-d of the distillation literature: d blocks of 3x3 convolution, batch normalization, ReLU and 2x2 average
//! pooling, then one linear layer. Names as in the published code of RDED and DELT.

use crate::description::{Convolution, FeatureMap, Operation, Window};
use crate::family::{Bound, Family};
use crate::layer_list::LayerList;
use crate::layout::{FEATURES, Layout};

/// The most channels that can be meant.
const MOST_WIDTH: u32 = 8192;

/// The window of a block's pooling.
const POOLING: Window = Window { kernel: 2, stride: 2, padding: 0 };

pub(crate) struct ConvNet {
    pub(crate) depth: u32,
    pub(crate) width: u32,
}

impl Family for ConvNet {
    fn pass(&self, layers: &mut LayerList, image: FeatureMap, classes: usize) {
        let mut x = image;
        for block in 0..self.depth {
            let convolution = Convolution { has_bias: true, ..Convolution::same(3, 1) };
            x = layers.convolution(&format!("layers.conv.{block}"), x, self.width as usize, convolution);
            x = layers.batch_norm(&format!("layers.norm.{block}"), x);
            x = layers.pool(&format!("layers.pool.{block}"), x, Operation::AveragePool, POOLING);
        }
        layers.linear("classifier", x.flat(), classes);
    }

    fn published_lr(&self) -> f64 {
        1e-3
    }

    fn least_size(&self) -> usize {
        1_usize.checked_shl(self.depth).unwrap_or(usize::MAX)
    }

    fn other_layouts(&self) -> &'static [Layout] {
        &[FEATURES]
    }

    fn bounds(&self) -> Vec<Bound> {
        vec![Bound { field: "width", value: self.width, most: MOST_WIDTH }]
    }

    fn misfit(&self, size: usize) -> Option<String> {
        let Self { depth, width } = self;
        (*width == 0 || *depth == 0 || size < self.least_size()).then(|| {
            format!(
                "a ConvNet of depth {depth} and width {width} does not fit {size} px; expected a width of 1 or more, and \
                 {size} px to be left with a pixel when halved {depth} times; lower the depth or raise teacher.size"
            )
        })
    }

    fn suffix(&self) -> String {
        format!("{}-w{}", self.depth, self.width)
    }
}

//! What a family of networks says of itself.

use crate::builder::{Builder, Value};
use crate::layout::Layout;
use crate::start::Rules;

/// Networks of one structure; the fields are those of the table's row and the numbers in which its networks differ.
pub(crate) trait Family {
    /// Adds the layers on the way of an image through the network; the last, which makes logits, is linear or a 1x1 convolution.
    fn pass(&self, network: &mut Builder, image: Value, classes: usize);

    /// As [`crate::Architecture::published_lr`].
    fn published_lr(&self) -> Option<f64> {
        None
    }

    /// How new weights are drawn.
    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// Share of a batch in the running statistics of its BatchNorm layers, where that is the network's own.
    fn bn_momentum(&self) -> Option<f64> {
        None
    }

    /// As [`crate::Architecture::least_size`].
    fn least_size(&self) -> usize {
        1
    }

    /// How published code calls the tensors, apart from our own names.
    fn other_layouts(&self) -> &'static [Layout] {
        &[]
    }

    /// As [`crate::Architecture::bounds`].
    fn bounds(&self) -> Vec<Bound> {
        Vec::new()
    }

    /// As [`crate::Architecture::misfit`].
    fn misfit(&self, size: usize) -> Option<String> {
        let least = self.least_size();
        (size < least).then(|| {
            format!("{size} px is too small for this network; expected {least} or more; raise teacher.size")
        })
    }

    /// What follows the name in messages.
    fn suffix(&self) -> String {
        String::new()
    }
}

/// A field that memory is taken by, and the most it may be: far above any use, so that a slip of the hand is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The field.
    pub field: &'static str,
    /// What it is.
    pub value: u32,
    /// The most it may be.
    pub most: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vgg;

    impl Family for Vgg {
        fn pass(&self, _network: &mut Builder, _image: Value, _classes: usize) {}

        fn least_size(&self) -> usize {
            32
        }
    }

    #[test]
    fn pictures_below_the_least_size_are_refused() {
        assert_eq!(Vgg.misfit(32), None);
        assert_eq!(
            Vgg.misfit(31).as_deref(),
            Some("31 px is too small for this network; expected 32 or more; raise teacher.size")
        );
    }
}

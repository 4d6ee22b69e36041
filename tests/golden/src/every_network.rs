//! `networks/NAME`: every network of the published tables.

use delt_formats::{Architecture, BnMomentum, Conv1Start, Norm, Stem, VitStart};

use crate::figures::check;

#[path = "../../../crates/architectures/tests/published/networks.rs"]
mod networks;
pub(crate) use networks::STARTS_OTHERWISE;
use networks::for_all_networks;

/// Makes a test of each file and its network; `slow` ones have so many weights that they take minutes.
macro_rules! agree_with_pytorch {
    (fast { $($name:ident: $architecture:expr;)* } slow { $($slow:ident: $slow_architecture:expr;)* }) => {
        $(fn $name() { check(stringify!($name), $architecture); })*
        $(fn $slow() { check(stringify!($slow), $slow_architecture); })*
        tests! { $($name),* }
        pub(crate) const SLOW_TESTS: &[crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($slow)), $slow)),*];
    };
}

for_all_networks!(agree_with_pytorch);

fn convnet(norm: Norm) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 32, norm, norm_before_conv: false, doubling: false }
}

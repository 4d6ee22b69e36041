//! Every golden file of the published PyTorch code against the functions that the stages call; `pipeline_peer.json` is
//! the test target `peer`.
//!
//! The tests are functions in tables, so that a program for another machine can hold them too; one that is in no table is dead
//! code, which the compiler tells. `tests/golden/README.md` says what each file pins.

#![expect(clippy::unwrap_used, reason = "a malformed golden file fails its test")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: its module and name, and what panics where it fails.
pub type Test = (&'static str, fn());

/// The table of a module.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

mod batch;
mod batch_algebra;
mod batch_dsa;
mod batch_optimizers;
mod batch_students;
mod convnet_variants;
mod crops;
mod every_network;
mod figures;
mod kernels;
mod matching;
mod measures;
mod mix;
mod networks;
mod randaugment;
mod schedule;
mod selection;
mod tangent;
mod trace;
mod training;
mod unrolled;

fn the_golden_folder_has_its_meta_file() {
    assert!(!delt_tests::prefix().is_empty());
}

tests! {
    the_golden_folder_has_its_meta_file,
}

/// All but the slow ones; what every run of the stages depends on comes first.
pub fn tests() -> impl Iterator<Item = Test> {
    let first = [TESTS, networks::TESTS, training::TESTS, trace::TESTS, convnet_variants::TESTS];
    let augmentation = [crops::TESTS, mix::TESTS, randaugment::TESTS, schedule::TESTS, selection::TESTS];
    let batch = [batch::TESTS, batch_algebra::TESTS, batch_dsa::TESTS, batch_optimizers::TESTS];
    let methods = [batch_students::TESTS, matching::TESTS, tangent::TESTS, unrolled::TESTS, kernels::TESTS];
    let others = [measures::TESTS, every_network::TESTS];
    let tables = first.into_iter().chain(augmentation).chain(batch).chain(methods).chain(others);
    tables.flatten().map(named)
}

/// Those of the largest networks, which take minutes and gigabytes.
pub fn slow_tests() -> impl Iterator<Item = Test> {
    every_network::SLOW_TESTS.iter().map(named)
}

/// Without the name of this crate.
fn named((name, run): &Test) -> Test {
    (name.split_once("::").map_or(*name, |(_, name)| name), *run)
}

/// Runs the tests as Cargo's own harness does, by the arguments of this process: parts of names, `--ignored`, `--test-threads`,
/// `--nocapture`.
pub fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    delt_tests::record::tell(arguments.nocapture);
    if let Some(error) = Some(delt_tests::open()).filter(|_| !arguments.list).and_then(Result::err) {
        eprintln!("golden: {error}");
        return ExitCode::FAILURE;
    }
    let trial = |(name, run): Test, is_slow| {
        let passes = move || {
            run();
            Ok(())
        };
        Trial::test(name, passes).with_ignored_flag(is_slow)
    };
    let fast = tests().map(|test| trial(test, false));
    libtest_mimic::run(&arguments, fast.chain(slow_tests().map(|test| trial(test, true))).collect())
        .exit_code()
}

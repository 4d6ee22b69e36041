//! Every golden file of the published PyTorch code against the functions that the stages call; `pipeline_peer.json` is
//! the test target `peer`.

#![expect(clippy::unwrap_used, reason = "a malformed golden file fails its test")]

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
mod recovery;
mod schedule;
mod selection;
mod tangent;
mod trace;
mod training;
mod unrolled;

#[test]
fn the_golden_folder_has_its_meta_file() {
    assert!(!delt_tests::prefix().is_empty());
}

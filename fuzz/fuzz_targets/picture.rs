//! Images: what ingest stores of them is decoded again and brought to the size of a network.
#![no_main]

use delt_augment::resize::fit;
use delt_formats::RgbImage;
use delt_images::stored_image::{Content, prepare};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let Ok(stored) = prepare(Content::Encoded(input.to_vec())) else { return };
    let picture = RgbImage::decode(&stored.bytes).expect("what is stored can be decoded");
    assert_eq!(fit(&picture, 32).rgb.len(), 32 * 32 * 3);
});

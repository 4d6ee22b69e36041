//! Safetensors files: round trips, other element types, refusals.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::collections::BTreeMap;

use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::{NamedTensor, TensorValues, read_safetensors, write_safetensors};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn tensor(name: &str, shape: &[usize], values: TensorValues) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
}

fn tensors() -> Vec<NamedTensor> {
    vec![
        tensor("bn.num_batches_tracked", &[], TensorValues::I64(vec![-7])),
        tensor("conv.weight", &[2, 3], TensorValues::F32(vec![1.0, -2.5, 3.0, f32::MIN_POSITIVE, 5.0, 6.0])),
        tensor("empty", &[0, 4], TensorValues::F32(Vec::new())),
    ]
}

fn provenance() -> Provenance {
    let classes = vec!["cat".to_owned()];
    Provenance::new(
        ArtifactKind::Teacher,
        "teacher-train",
        1,
        classes,
        serde_json::json!({"b": 1, "a": 2}),
        5,
        BTreeMap::new(),
    )
}

#[test]
fn tensors_round_trip_and_the_order_given_does_not_reach_the_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    write_safetensors(&one, &tensors(), Some(&provenance())).unwrap();
    let mut reversed = tensors();
    reversed.reverse();
    write_safetensors(&two, &reversed, Some(&provenance())).unwrap();
    assert_eq!(fs_err::read(&one).unwrap(), fs_err::read(&two).unwrap());
    assert_eq!(read_safetensors(&one).unwrap(), (tensors(), Some(provenance())));
}

#[test]
fn a_file_external_has_no_provenance_and_its_types_are_widened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    let half: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
    let brain: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
    let double: Vec<u8> = [0.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let int: Vec<u8> = [3i32, -4].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = |dtype, data| TensorView::new(dtype, vec![2], data).unwrap();
    let file = [
        ("double", view(Dtype::F64, &double)),
        ("half", view(Dtype::F16, &half)),
        ("brain", view(Dtype::BF16, &brain)),
        ("int", view(Dtype::I32, &int)),
        ("bool", view(Dtype::BOOL, &[1, 0])),
    ];
    fs_err::write(&path, safetensors::serialize(file, None).unwrap()).unwrap();
    let floats = || TensorValues::F32(vec![0.5, -2.0]);
    let expected = vec![
        tensor("bool", &[2], TensorValues::I64(vec![1, 0])),
        tensor("brain", &[2], floats()),
        tensor("double", &[2], floats()),
        tensor("half", &[2], floats()),
        tensor("int", &[2], TensorValues::I64(vec![3, -4])),
    ];
    assert_eq!(read_safetensors(&path).unwrap(), (expected, None));
}

#[test]
fn wrong_files_and_tensors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let at = path.display().to_string();
    let short = [tensor("conv.weight", &[2, 3], TensorValues::F32(vec![0.0; 5]))];
    assert_eq!(
        write_safetensors(&path, &short, None).unwrap_err().to_string(),
        format!("{at}: tensor `conv.weight` of shape [2, 3] has 5 values, expected 6")
    );
    write_safetensors(&path, &tensors(), None).unwrap();
    let whole = fs_err::read(&path).unwrap();
    fs_err::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(
        read_safetensors(&path).unwrap_err().to_string(),
        format!("{at}: not a complete safetensors file; download or export it again")
    );
    let odd = [("phase", TensorView::new(Dtype::C64, vec![1], &[0; 8]).unwrap())];
    fs_err::write(&path, safetensors::serialize(odd, None).unwrap()).unwrap();
    assert_eq!(
        read_safetensors(&path).unwrap_err().to_string(),
        format!(
            "{at}: tensor `phase` holds C64, expected a float of 16 to 64 bits, an integer or bool; convert it"
        )
    );
}

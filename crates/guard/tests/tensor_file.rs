//! Tensors that PyTorch saved in a list, alone, or before version 1.6.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::path::Path;

use delt_formats::TensorValues;
use delt_guard::read_tensors;

/// Made by PyTorch 2.11: x = torch.arange(12.).reshape(1, 3, 2, 2); y = torch.tensor([7]); torch.save([x, y], "list.pt"),
/// torch.save(x, "alone.pt"), torch.save((x, y), "legacy.pt", _use_new_zipfile_serialization=False).
fn tensors(file: &str) -> Vec<(String, Vec<usize>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let read = read_tensors(&path).unwrap();
    let first = read.iter().find(|tensor| tensor.shape.len() == 4).unwrap();
    assert_eq!(first.values, TensorValues::F32((0..12_u8).map(f32::from).collect()), "{file}");
    read.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}

#[test]
fn tensors_of_lists_are_called_by_their_places_and_one_alone_by_nothing() {
    let two = [("0".to_owned(), vec![1, 3, 2, 2]), ("1".to_owned(), vec![1])];
    assert_eq!(tensors("list.pt"), two);
    assert_eq!(tensors("legacy.pt"), two);
    assert_eq!(tensors("alone.pt"), [(String::new(), vec![1, 3, 2, 2])]);
}

#[test]
fn what_is_no_file_of_tensors_is_refused_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("number.pt");
    std::fs::write(&path, b"\x80\x02K\x07.").unwrap();
    let said = read_tensors(&path).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{}: ", path.display())), "{said}");
}

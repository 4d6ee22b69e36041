//! External weights that cannot be read, or ask for more than they hold: the whole message of each refusal.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::io::Write;
use std::path::{Path, PathBuf};

use delt_guard::{WeightsError, read_names, read_weights};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const AGAIN: &str = "save it again with torch.save(model.state_dict(), …)";

fn legacy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy.pth")
}

/// What is said of a file of these bytes, after its name and a colon, and how many bytes it has.
fn said(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let message = read_weights(&path).expect_err("refused").to_string();
    message.strip_prefix(&format!("{}: ", path.display())).expect("the file is named").to_owned()
}

/// A checkpoint as PyTorch saves it since 1.6, with one storage of four bytes.
fn saved(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in [("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", &[0; 4])] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The pickle of `{"w": tensor}`, where the tensor repeats the only number of storage 0: `shape` is the pickle of its shape.
fn repeated(shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
    let parts: [&[u8]; 9] = [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(",
        storage,
        b"K\0",
        shape,
        strides,
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
        b"tR",
        b"s.",
    ];
    parts.concat()
}

#[test]
fn a_file_that_is_no_checkpoint_of_pytorch_says_how_to_make_one() {
    assert_eq!(
        said("w.pth", b"weights, one might think"),
        format!("not readable as a PyTorch checkpoint; {AGAIN}")
    );
    let whole = saved(&repeated(b"K\x01\x85", b"K\x01\x85"));
    assert_eq!(
        said("w.pth", &whole[..whole.len() - 30]),
        format!("not readable as a PyTorch checkpoint; download it again, or {AGAIN}")
    );
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert_eq!(
        said("w.pth", &tar),
        format!("is a tar archive, as PyTorch before 0.1.10 saved; load it and {AGAIN}")
    );
    let error = WeightsError::TensorBytes {
        path: "w.pth".into(),
        name: "a".into(),
        source: std::io::Error::other(""),
    };
    assert_eq!(error.to_string(), "w.pth: tensor `a` could not be read; download the file again");
}

#[test]
fn a_small_file_that_asks_for_much_is_refused_before_it_gets_it() {
    let asks = |file: Vec<u8>| {
        let message = said("w.pth", &file);
        message.replace(&format!(" in a file of {} bytes; if you trust it, {AGAIN}", file.len()), "")
    };
    assert_eq!(
        asks(saved(&vec![b'N'; 1_000_000])),
        "its zip archive unpacks to 1000010 bytes, expected at most 4 times what there is"
    );
    let billion = b"J\0\xca\x9a\x3b\x85";
    assert_eq!(
        asks(saved(&repeated(billion, b"K\0\x85"))),
        "its tensors take 4000000000 bytes, expected at most 4 times what there is"
    );
    let ones = [b"(".as_slice(), &b"K\x01".repeat(17), b"t"].concat();
    assert_eq!(asks(saved(&repeated(&ones, &ones))), "tensor `w` has 17 dimensions, expected at most 16,");
    let name = format!("cm\n{}\n", "n".repeat(20_000));
    assert_eq!(
        asks([b"\x80\x02", name.as_bytes(), &[b'2'; 60_000], b"."].concat()),
        "its pickle would allocate too much (53680 operations or more around a text of 20003 bytes)"
    );
}

#[test]
fn a_checkpoint_that_is_whole_is_read_and_one_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    for (whole, tensors) in
        [(std::fs::read(legacy()).unwrap(), 9), (saved(&repeated(b"K\x01\x85", b"K\x01\x85")), 1)]
    {
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read_weights(&path).unwrap().len(), tensors);
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let message = read_weights(&path).expect_err("refused").to_string();
            assert!(message.starts_with(&format!("{}: ", path.display())), "{length}: {message}");
        }
    }
}

#[test]
fn an_archive_whose_first_entry_is_as_long_as_the_record_behind_its_list_is_read() {
    let folder = "n".repeat(21);
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let pickle = repeated(b"K\x01\x85", b"K\x01\x85");
    for (name, bytes) in [("data.pkl", pickle.as_slice()), ("byteorder", b"little"), ("data/0", &[0; 4])] {
        archive.start_file(format!("{folder}/{name}"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    // the record of 64-bit sizes and its locator, which PyTorch always writes
    let mut bytes = archive.finish().unwrap().into_inner();
    let end = bytes.len() - 22;
    let [size, start] = [12, 16].map(|at| bytes[end + at..][..4].to_vec());
    let wide = |number: &[u8]| [number, &[0; 4]].concat();
    let record = [
        b"PK\x06\x06".as_slice(),
        &44_u64.to_le_bytes(),
        &[45, 0, 45, 0],
        &[0; 8],
        &3_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
        &wide(&size),
        &wide(&start),
        b"PK\x06\x07\0\0\0\0",
        &(end as u64).to_le_bytes(),
        &1_u32.to_le_bytes(),
    ];
    bytes.splice(end..end, record.concat());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    std::fs::write(&path, &bytes).unwrap();
    assert!(zip::ZipArchive::new(std::io::Cursor::new(bytes)).is_err(), "the reader finds it by itself");
    assert_eq!(read_weights(&path).unwrap().len(), 1);
    assert_eq!(read_names(&path).unwrap(), ["w"]);
}

#[test]
fn a_program_is_refused_by_name_with_the_way_to_its_weights() {
    let archive = |names: &[&str]| {
        let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(b"2").unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    let script = archive(&["net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"]);
    assert_eq!(
        said("net.pt", &script),
        "is a TorchScript program (torch.jit.save), which is code with weights; load it in Python and save the weights alone: \
         torch.save(torch.jit.load(file).state_dict(), …)"
    );
    let exported = archive(&["net/archive_format", "net/models/model.json"]);
    assert_eq!(
        said("net.pt2", &exported),
        "is an exported program (torch.export.save), which is code with weights; load it in Python and save the weights alone: \
         torch.save(torch.export.load(file).state_dict, …)"
    );
}

#[test]
fn all_tensors_are_read_under_their_whole_names() {
    let names: Vec<String> = read_weights(&legacy()).unwrap().into_iter().map(|tensor| tensor.name).collect();
    assert_eq!(names.len(), 9);
    assert!(names.iter().all(|name| name.starts_with("state_dict.module.")), "{names:?}");
    let mut in_order = read_names(&legacy()).unwrap();
    assert_eq!(in_order[..2], ["epoch", "state_dict.module.layers.conv.0.weight"]);
    in_order.retain(|name| name != "epoch");
    in_order.sort();
    assert_eq!(in_order, names);
}

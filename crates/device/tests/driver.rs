//! What is said where a driver or what belongs to it is missing: by `libcuda.c` in the place of NVIDIA's driver, in processes of
//! their own.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// In the child: what opening the device says.
#[test]
#[ignore = "run by the other test of this file, under drivers that it makes"]
fn open() {
    let device = std::env::var("FAKE_CUDA_ASKED").expect("the device");
    let said = delt_device::open(&device).map_or_else(|error| error.to_string(), |opened| opened.name);
    eprintln!("said: {said}");
}

/// The line that `device` is refused with, and whether a panic was printed.
fn said(driver: &Path, devices: Option<&str>, device: &str) -> (String, bool) {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "open", "--ignored", "--nocapture"]);
    command.env("FAKE_CUDA_ASKED", device).env("LD_LIBRARY_PATH", driver).env("CUDA_PATH", driver);
    command.env_remove("FAKE_CUDA_DEVICES").envs(devices.map(|count| ("FAKE_CUDA_DEVICES", count)));
    let output = command.output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr.lines().find_map(|line| line.split_once("said: ")).unwrap_or_default().1;
    (line.to_owned(), stderr.contains("panicked"))
}

#[test]
fn each_thing_that_is_missing_is_said_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libcuda.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("libcuda.so")).arg(source);
    if !compiler.status().is_ok_and(|status| status.success()) {
        let _ = writeln!(std::io::stderr(), "skipped: no driver to be refused without a C compiler (cc)");
        return;
    }
    let check = "check the driver and the index, or use --device flex (make: DEVICE=flex)";
    let none = format!("no NVIDIA driver (libcuda.so) that finds a GPU; {check}");
    let without_file = format!(
        "libdevice.10.bc was not found: {} (CUDA_PATH) has no nvvm/libdevice/libdevice.10.bc; set CUDA_PATH to a CUDA toolkit",
        folder.path().display()
    );
    for (devices, device, reason) in [
        (None, "cuda", none.as_str()),
        (Some("0"), "cuda", &none),
        (Some("1"), "cuda:3", &format!("the driver finds 1, counted from 0; {check}")),
        (Some("1"), "cuda:0", &without_file),
    ] {
        expect(folder.path(), devices, device, reason);
    }
    // with the file, what is missing is all that a driver of today has beyond these two functions
    let libdevice = folder.path().join("nvvm/libdevice");
    std::fs::create_dir_all(&libdevice).expect("a folder");
    std::fs::write(libdevice.join("libdevice.10.bc"), []).expect("a file");
    let (line, panicked) = said(folder.path(), Some("1"), "cuda:0");
    let cure =
        "the driver is too old for this build: update it to 570 or newer (CUDA 12.8), or use --device flex";
    assert!(line.starts_with("device `cuda:0` does not answer: ") && line.contains(cure), "`{line}`");
    assert!(!panicked, "`{line}`");
}

fn expect(driver: &Path, devices: Option<&str>, device: &str, reason: &str) {
    let (line, panicked) = said(driver, devices, device);
    let expected = format!("device `{device}` does not answer: {reason}");
    assert!(line.starts_with(&expected) && !panicked, "{devices:?}: `{line}`, expected `{expected}`");
}

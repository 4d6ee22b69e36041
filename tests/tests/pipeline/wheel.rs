//! The wheel of `make wheel`, built of the binaries under test and installed as a user does it: `tests/wheel/run`. Without Python,
//! make or binutils the test says so and is skipped.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use delt_tests::binaries::program;
use delt_tests::workspace;

#[test]
fn an_installed_wheel_makes_what_the_clone_makes_with_neither_cargo_nor_the_clone() {
    let needed: [&[&str]; 4] = [
        &["python3", "-m", "ensurepip", "-h"],
        &["make", "--version"],
        &["objdump", "--version"],
        &["strip", "--version"],
    ];
    for words in needed {
        let output = Command::new(words[0]).args(&words[1..]).output();
        if !output.is_ok_and(|output| output.status.success()) {
            let _ = writeln!(std::io::stderr(), "skipped: no wheel without {}", words.join(" "));
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = program("relabel").get_program().to_owned();
    let binaries = Path::new(&binary).parent().unwrap();
    let said = |command: &mut Command| {
        let output = command.current_dir(workspace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let mut wheel = Command::new("python3");
    wheel.args(["python/wheel.py", "--level", "1", "--bin"]).arg(binaries).arg("--out").arg(folder.path());
    let built = said(&mut wheel);
    let path = built.split_once(": ").expect(&built).0;
    let last = said(Command::new("tests/wheel/run").arg(path).env("BIN", binaries));
    assert!(last.contains("artifacts with the clone's digests"), "{last}");
}

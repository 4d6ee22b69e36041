//! A store that may be read and not written: what is in it is found.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use delt_tests::binaries::{Run, STAGES};

/// Gives or takes the right to write everything below a folder.
fn set_writable(path: &Path, is_writable: bool) {
    let is_folder = path.is_dir();
    let mode = match (is_folder, is_writable) {
        (true, true) => 0o755,
        (true, false) => 0o555,
        (false, true) => 0o644,
        (false, false) => 0o444,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    if is_folder {
        for entry in std::fs::read_dir(path).unwrap() {
            set_writable(&entry.unwrap().path(), is_writable);
        }
    }
}

/// The command as a user whom permissions bind: root may write everywhere, so it becomes nobody. `None`, with the reason
/// printed, where that cannot be.
fn bound_by_permissions(command: &Command, read_only: &Path) -> Option<Command> {
    let mut bound = Command::new(command.get_program());
    if std::fs::write(read_only.join("probe"), "").is_ok() {
        std::fs::remove_file(read_only.join("probe")).unwrap();
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        bound = Command::new("setpriv");
        bound.args(nobody).arg(command.get_program());
        let can = Command::new("setpriv").args(nobody).arg(command.get_program()).arg("--version").output();
        if !can.is_ok_and(|output| output.status.success()) {
            let _ = writeln!(std::io::stderr(), "skipped: root cannot run the stages as nobody here");
            return None;
        }
    }
    bound.args(command.get_args()).current_dir(command.get_current_dir().unwrap()).env("DEVICE", "flex");
    Some(bound)
}

#[test]
fn a_store_that_cannot_be_written_serves_what_it_has_and_says_which_names_it_lacks() {
    let run = Run::new();
    let store = run.store();
    run.up_to("evaluate", &["--branch", "delt"]);
    // as if another pipeline had made the same artifacts
    std::fs::remove_dir_all(store.join("runs/tiny")).unwrap();
    std::fs::set_permissions(store.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    set_writable(&store, false);
    let found = STAGES.map(|stage| {
        let command = bound_by_permissions(&run.command(stage, &["--branch", "delt"]), &store)?;
        Some((stage, { command }.output().unwrap()))
    });
    let other = ["--branch", "delt", "--set", "evaluate.lr=0.1"];
    let more =
        bound_by_permissions(&run.command("evaluate", &other), &store).map(|mut c| c.output().unwrap());
    set_writable(&store, true);
    let Some(more) = more else { return };

    for (stage, output) in found.into_iter().flatten() {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stage}: {said}");
        assert!(said.contains(&format!("{stage}: the store is read-only, so tiny/delt/")), "{said}");
        assert!(said.contains(" will not be found by this name: "), "{said}");
        assert!(said.contains(&format!("{stage}: cached: ")), "{said}");
        let is_last = stage == "evaluate";
        assert_eq!(String::from_utf8(output.stdout).unwrap().contains("image-iterations"), is_last);
    }
    let said = String::from_utf8(more.stderr).unwrap();
    assert_eq!(more.status.code(), Some(1), "{said}");
    let expected = format!(
        "tiny/delt: store {}: cannot be read or written; choose another with STORE= (--store): ",
        store.display()
    );
    assert!(said.contains(&expected), "{said}");
}

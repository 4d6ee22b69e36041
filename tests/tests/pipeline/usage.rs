//! Exit codes and messages: 0 done or cached, 1 failed, 2 bad usage.

use std::process::Stdio;

use delt_tests::binaries::Run;

fn refused(arguments: &[&str], code: i32, message: &str) {
    let run = Run::new();
    let output = run.output("relabel", arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(message), "expected `{message}` in: {said}");
}

#[test]
fn an_unknown_key_is_bad_usage_and_named() {
    refused(
        &["--set", "relabel.epoch=5"],
        2,
        "tests/pipelines/tiny.yaml: at `relabel.epoch`: unknown field `epoch`",
    );
}

#[test]
fn an_unknown_branch_is_bad_usage_and_the_known_ones_are_listed() {
    refused(&["--branch", "sre2l"], 2, "no branch `sre2l`; there are: random, delt");
}

#[test]
fn a_missing_input_names_the_target_that_makes_it() {
    refused(&[], 1, "is not in the store; make it with `make tiny/ingest STORE=");
    refused(&["--set", "select.ipc=2"], 1, " SET=select.ipc=2`");
}

#[test]
fn an_unknown_device_is_refused_before_any_work() {
    let run = Run::new();
    run.stage("ingest", &[]);
    let output = run.command("teacher-train", &[]).env("DEVICE", "tpu").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("expected auto, flex, cuda, wgpu, vulkan, e.g. cuda:1, or several: cuda:0,cuda:1"),
        "{said}"
    );
    let output = run.command("teacher-train", &[]).env("DEVICE", "cuda:99").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("device `cuda:99` "), "{said}");
    assert!(!run.store().join("runs/tiny/delt/teacher.json").exists());
}

#[test]
fn a_device_that_is_not_there_is_refused_even_where_all_work_is_in_the_store() {
    let run = Run::new();
    run.up_to("delt-synthesize", &["--branch", "delt"]);
    // the first GPU backend that is not compiled; none is missing where all are
    for stage in ["teacher-train", "init-select", "delt-synthesize"] {
        let refusal = ["cuda", "vulkan", "wgpu"].into_iter().find_map(|backend| {
            let error = delt_device::check(backend).err()?;
            Some((backend, error.to_string()))
        });
        let Some((backend, expected)) = refusal else { return };
        let output = run.command(stage, &["--branch", "delt"]).env("DEVICE", backend).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said, format!("{stage}: {expected}\n"));
    }
    let output = run.command("ingest", &[]).env("DEVICE", "tpu").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a stage that does not compute takes no unknown device either");
}

#[test]
fn a_data_path_in_the_home_folder_is_meant_as_such() {
    let output =
        Run::new().command("ingest", &["--data", "~/pictures"]).env("HOME", "/home/me").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the images are at /home/me/pictures, but"), "{said}");
}

#[test]
fn a_dry_run_prints_keys_and_writes_nothing() {
    let run = Run::new();
    assert!(run.output("ingest", &["--dry-run"]).status.success());
    assert!(!run.store().exists(), "a dry run created the store");
    run.stage("ingest", &["--branch", "delt"]);
    let output = run.output("teacher-train", &["--branch", "delt", "--dry-run"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(said.contains("tiny/delt/teacher: not cached, key ") && said.contains("    dataset "), "{said}");
    assert!(!run.store().join("teacher").exists() || run.manifests("teacher").is_empty());
    let waiting = run.output("relabel", &["--branch", "delt", "--dry-run"]);
    let said = String::from_utf8_lossy(&waiting.stdout).into_owned();
    assert!(waiting.status.success() && said.contains("waits: "), "{said}");
}

#[test]
fn a_dry_run_misses_weights_that_cannot_be_read() {
    let run = Run::new();
    let weights = run.store().with_file_name("w.pth");
    std::fs::write(&weights, "").unwrap();
    let setting = format!("teacher.import={{path: {}, classes: dataset}}", weights.display());
    let dry_run = |stage: &str, more: &[&str]| {
        let output =
            run.output(stage, &[&["--branch", "delt", "--set", &setting, "--dry-run"], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = dry_run("ingest", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("w.pth: is an empty file, expected a .safetensors or .pth file"), "{said}");
    std::fs::write(&weights, "no weights").unwrap();
    assert_eq!(dry_run("ingest", &[]).0, Some(0));
    // before there is a data set, and once it is known what has to fit
    for _ in 0..2 {
        let (code, said) = dry_run("teacher-train", &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("w.pth: not readable as a PyTorch checkpoint"), "{said}");
        let (code, said) = dry_run("teacher-train", &["--assume-files"]);
        assert_eq!(code, Some(0), "{said}");
        run.stage("ingest", &["--branch", "delt"]);
    }
    std::fs::remove_file(&weights).unwrap();
    assert_eq!(dry_run("teacher-train", &[]).0, Some(2));
    let (code, said) = dry_run("teacher-train", &["--assume-files"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_dry_run_says_once_what_holds_of_several_branches() {
    let run = Run::new();
    let said = |stage: &str, more: &[&str]| {
        let output = run.output(stage, &[&["--dry-run"], more].concat());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let ingest = said("ingest", &[]);
    assert_eq!(ingest.matches("not cached, key ").count(), 1, "{ingest}");
    assert!(ingest.ends_with("ingest tiny: the same keys: delt/dataset\n"), "{ingest}");
    assert_eq!(said("ingest", &["--verbose"]).matches("not cached, key ").count(), 2);
    let relabel = said("relabel", &[]);
    assert_eq!(relabel.matches("make it with `make ").count(), 1, "{relabel}");
    assert!(relabel.ends_with("relabel tiny: waits for its dataset as well: delt\n"), "{relabel}");
    let matching = Run::of("pipelines/digits-matching.yaml", &run.store(), "flex");
    let output = matching.output("ingest", &["--dry-run"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("rat-bptt/dataset, which this stage makes first"), "{said}");
    assert!(!said.contains("make it with"), "{said}");
    assert!(said.lines().count() < 10, "{said}");
}

#[test]
fn a_reader_of_a_dry_run_that_has_seen_enough_is_no_internal_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::new();
    let child = run.command("ingest", &["--dry-run"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(!said.contains("internal error"), "{said}");
}

#[test]
fn too_few_images_of_a_class_name_class_size_and_ipc() {
    let run = Run::new();
    for stage in ["ingest", "teacher-train"] {
        run.stage(stage, &["--branch", "delt"]);
    }
    let output = run.output("init-select", &["--branch", "delt", "--set", "select.ipc=40"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "class `0` has 40 training images, `medium` with 40 images per class needs at least 41"
        ),
        "{said}"
    );
    // before a teacher is trained for nothing
    let output = run.output("teacher-train", &["--branch", "delt", "--set", "select.ipc=40"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "class `0` has 40 training images, `medium` with 40 images per class needs at least 41"
        ),
        "{said}"
    );
}

#[test]
fn a_forced_run_that_fails_leaves_what_was_there() {
    let run = Run::new();
    run.up_to("teacher-train", &["--branch", "delt"]);
    let (folder, before) = run.pointed("tiny/delt/teacher", "teacher");
    // as many bytes, so that the dataset is found and fails where the teacher reads it
    let images = run.pointed("tiny/delt/dataset", "dataset").0.join("train.parquet");
    let whole = std::fs::read(&images).unwrap();
    std::fs::write(&images, vec![0; whole.len()]).unwrap();
    let output = run.output("teacher-train", &["--branch", "delt", "--force"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("train.parquet: its content has digest "), "{said}");
    std::fs::write(&images, whole).unwrap();
    assert!(folder.join("weights.safetensors").exists());
    let said = run.stage("teacher-train", &["--branch", "delt", "--force"]);
    assert!(said.contains("after 4 epochs"), "{said}");
    assert_eq!(run.pointed("tiny/delt/teacher", "teacher").1.digest, before.digest);
}

#[test]
fn a_loss_that_is_no_number_names_batch_classes_and_iteration() {
    let run = Run::new();
    let wrong = ["--branch", "delt", "--set", "synthesize.bn_matching_weight=1.0e+300"];
    run.up_to("init-select", &wrong);
    let output = run.output("delt-synthesize", &wrong);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = "batch 0 (classes 0 to 4), iteration 0: the loss is inf; the last checkpoint is kept; \
        lower synthesize.lr or synthesize.bn_matching_weight";
    assert!(said.contains(expected), "{said}");
    assert!(!run.store().join("runs/tiny/delt/synthetic.json").exists());
}

//! The commands that the Makefile runs, as `make -n` prints them. Without GNU make the tests say so and are skipped.

mod slurm;
mod tables;

use std::io::Write as _;
use std::process::Command;

use delt_tests::binaries::STAGES;
use delt_tests::workspace;

/// A call of make that no knob of the caller reaches; `None`, with the reason printed, without GNU make.
fn make(arguments: &[&str]) -> Option<Command> {
    let version = Command::new("make").arg("--version").output();
    let is_gnu = |text: &[u8]| String::from_utf8_lossy(text).starts_with("GNU Make");
    if !version.as_ref().is_ok_and(|output| is_gnu(&output.stdout)) {
        let _ = writeln!(std::io::stderr(), "skipped: `make --version` is not GNU Make: {version:?}");
        return None;
    }
    let mut make = Command::new("make");
    make.current_dir(workspace()).arg("BACKEND=").args(arguments).env("CARGO_TARGET_DIR", "target");
    // what a calling make and the user's shell say must not reach this one
    let knobs = [
        "STORE",
        "DELT_STORE",
        "DEVICE",
        "SET",
        "DATA",
        "BRANCH",
        "FORCE",
        "DRY_RUN",
        "LAUNCH",
        "SHARDS",
        "SBATCH",
        "SLURM_LOGS",
        "OUTPUT",
        "FORMAT",
        "V",
        "SET_PATH",
        "TEACHER",
        "PIPELINE",
    ];
    for name in knobs.into_iter().chain(["MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"]) {
        make.env_remove(name);
    }
    Some(make)
}

/// What a call that must succeed prints, one a line with single spaces.
fn lines(mut make: Command) -> Vec<String> {
    let output = make.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The stage commands of a call, after that which builds.
fn commands(arguments: &[&str]) -> Option<Vec<String>> {
    let mut make = make(arguments)?;
    make.arg("-n");
    let mut lines = lines(make);
    assert_eq!(lines.remove(0), "cargo build --workspace --bins");
    Some(lines)
}

/// The command of a stage of the digits with the knobs at their defaults, and these arguments after them.
fn command(stage: &str, more: &str) -> String {
    let plain =
        format!("target/debug/{stage} --pipeline pipelines/digits.yaml --store 'data/store' --device 'auto'");
    if more.is_empty() { plain } else { format!("{plain} {more}") }
}

#[test]
fn a_pipeline_runs_its_stages_in_order_and_a_stage_those_before_it() {
    let Some(all) = commands(&["digits"]) else { return };
    assert_eq!(all, STAGES.map(|stage| command(stage, "")));
    assert_eq!(
        commands(&["digits/init-select"]).unwrap(),
        STAGES[..3].iter().map(|s| command(s, "")).collect::<Vec<_>>()
    );
    assert_eq!(commands(&["-j4", "digits"]).unwrap(), all);
    let report = commands(&["digits/report", "OUTPUT=a page.html"]).unwrap();
    let look = command("report", "--dry-run --output 'a page.html' >/dev/null");
    assert_eq!(report[0], look, "whether its place will do");
    assert_eq!(report[1..7], all);
    assert_eq!(report[7..], [command("report", "--output 'a page.html'")]);
}

#[test]
fn an_export_asks_whether_it_can_be_before_the_stages_that_it_needs() {
    let Some(found) = commands(&["digits/export", "FORMAT=imagefolder", "OUTPUT=my set"]) else { return };
    let knobs = "--output 'my set' --format 'imagefolder'";
    assert_eq!(found[0], command("export", &format!("--dry-run {knobs} >/dev/null")));
    assert_eq!(found[1..5], STAGES[..4].iter().map(|stage| command(stage, "")).collect::<Vec<_>>());
    assert_eq!(found[5..], [command("export", knobs)]);
    let found = commands(&["digits/export", "FORMAT=ddranking", "OUTPUT=set"]).unwrap();
    let look = command("export", "--dry-run --output 'set' --format 'ddranking' >/dev/null");
    assert_eq!(found[..4], [look.clone(), command("ingest", ""), look, command("teacher-train", "")]);
}

#[test]
fn what_is_asked_of_a_set_is_refused_before_the_stages_that_make_it() {
    let Some(found) = commands(&["digits/cross-arch", "STUDENTS=convnet2 convnet3"]) else { return };
    let students = "--set 'cross_arch.students=[convnet2,convnet3]'";
    assert_eq!(found[0], command("cross-arch", &format!("{students} --dry-run >/dev/null")));
    assert_eq!(found[1..6], STAGES[..5].iter().map(|stage| command(stage, "")).collect::<Vec<_>>());
    assert_eq!(found[6..], [command("cross-arch", students)]);
    assert_eq!(commands(&["digits/prune"]).unwrap()[0], command("prune", "--dry-run >/dev/null"));
    let found = commands(&["digits/continual"]).unwrap();
    let look = command("continual", "--dry-run >/dev/null");
    assert_eq!(found[..4], [look.clone(), command("ingest", ""), look, command("teacher-train", "")]);
    let found = commands(&["digits/report", "STEPS=3"]).unwrap();
    let look = command("continual", "--set 'continual.steps=3' --dry-run >/dev/null");
    assert_eq!(found[..3], [look.clone(), command("ingest", ""), look]);
}

#[test]
fn a_knob_that_something_on_the_command_line_reads_is_taken_without_a_word() {
    let said = |arguments: &[&str]| {
        let output = make(&[&["-n"][..], arguments].concat())?.output().unwrap();
        assert!(output.status.success());
        Some(String::from_utf8(output.stderr).unwrap())
    };
    let both = ["digits/cross-arch", "digits/continual", "STEPS=3", "STUDENTS=convnet2"];
    let Some(silence) = said(&both) else { return };
    assert_eq!(silence, "");
    assert_eq!(said(&["digits/relabel", "FORMAT=fkd", "STEPS="]).unwrap(), "");
    assert!(said(&["digits/ingest", "BIN=/opt/delt", "BACKEND=cuda"]).unwrap().contains(
        "BACKEND=cuda builds nothing with BIN=/opt/delt: its programs have what they were built with"
    ));
}

#[test]
fn an_export_of_soft_labels_makes_them_in_the_order_of_their_loaders() {
    let Some(found) = commands(&["digits/export", "FORMAT=fkd", "OUTPUT=set"]) else { return };
    let set = "--set 'relabel.order=torch'";
    assert_eq!(found[1..6], STAGES[..5].iter().map(|stage| command(stage, set)).collect::<Vec<_>>());
    assert_eq!(found[6..], [command("export", &format!("{set} --output 'set' --format 'fkd'"))]);
}

#[test]
fn force_reaches_the_stage_that_was_named_or_all_of_a_pipeline() {
    let Some(all) = commands(&["digits", "FORCE=1"]) else { return };
    assert_eq!(all, STAGES.map(|stage| command(stage, "--force")));
    let one = commands(&["digits/relabel", "FORCE=1"]).unwrap();
    let force = |stage: &&str| if *stage == "relabel" { "--force" } else { "" };
    assert_eq!(one, STAGES[..5].iter().map(|stage| command(stage, force(stage))).collect::<Vec<_>>());
    assert_eq!(commands(&["digits", "FORCE=0"]).unwrap(), STAGES.map(|stage| command(stage, "")));
}

#[test]
fn every_knob_becomes_an_argument_of_each_stage() {
    let knobs = [
        ("SET=a.b=1 c.d=[2,3]", "--set 'a.b=1' --set 'c.d=[2,3]'"),
        ("DATA=my images", "--data 'my images'"),
        ("BRANCH=delt it's", r"--branch 'delt' --branch 'it'\''s'"),
        ("V=1", "--verbose"),
        ("V=0", ""),
        ("DRY_RUN=1", "--dry-run"),
        ("DRY_RUN=0", ""),
        ("DRY_RUN=plan", "--dry-run --assume-files"),
    ];
    for (knob, argument) in knobs {
        let Some(found) = commands(&["digits", knob]) else { return };
        assert_eq!(found, STAGES.map(|stage| command(stage, argument)), "{knob}");
    }
    let store = commands(&["digits/ingest", "STORE=/shared/a store"]).unwrap();
    assert_eq!(store, [command("ingest", "").replace("data/store", "/shared/a store")]);
    let device = commands(&["digits/ingest", "DEVICE=cuda:1"]).unwrap();
    assert_eq!(device, [command("ingest", "").replace("auto", "cuda:1")]);
    let launch = commands(&["digits/ingest", "LAUNCH=srun -n1"]).unwrap();
    assert_eq!(launch, [format!("srun -n1 {}", command("ingest", ""))]);
}

/// The commands of a stage of the digits in two parts, and of their merge.
fn in_two(stage: &str, more: &str) -> [String; 3] {
    ["--shards 2 --shard 0", "--shards 2 --shard 1", "--shards 2"]
        .map(|shards| command(stage, format!("{shards} {more}").trim_end()))
}

/// The commands of all stages of the digits in two parts.
fn demo_in_two() -> Vec<String> {
    let stage = |stage: &&str| match *stage {
        "init-select" | "delt-synthesize" | "relabel" => in_two(stage, "").to_vec(),
        whole => vec![command(whole, "")],
    };
    STAGES.iter().flat_map(stage).collect()
}

#[test]
fn parts_come_after_the_stage_before_and_ahead_of_their_merge() {
    let Some(all) = commands(&["digits", "SHARDS=2"]) else { return };
    assert_eq!(all, demo_in_two());
    assert_eq!(commands(&["digits", "SHARDS=0"]).unwrap(), STAGES.map(|stage| command(stage, "")));
    let one = commands(&["digits/delt-synthesize/shard-1", "SHARDS=2"]).unwrap();
    assert_eq!(one, [&all[..5], &all[6..7]].concat(), "no other part of its stage");
}

#[test]
fn force_reaches_the_parts_of_the_stage_that_was_named() {
    let Some(found) = commands(&["digits/relabel", "SHARDS=2", "FORCE=1"]) else { return };
    assert_eq!(found[..8], demo_in_two()[..8]);
    assert_eq!(found[8..], in_two("relabel", "--force"));
}

#[test]
fn a_folder_of_binaries_is_run_without_building() {
    let Some(make) = make(&["-n", "digits/ingest", "BIN=/opt/delt"]) else { return };
    let of_folder = command("ingest", "--bin '/opt/delt'").replace("target/debug", "/opt/delt");
    assert_eq!(lines(make), [of_folder]);
    let installed = self::make(&["-n", "digits/ingest", "BIN=/opt/delt", "DELT_HOME=./"]).unwrap();
    assert!(!lines(installed)[0].contains("--bin"), "a wheel's command gives it itself");
}

#[test]
fn a_folder_without_binaries_is_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().display().to_string();
    let Some(mut make) = make(&["digits/ingest", &format!("BIN={bin}")]) else { return };
    let output = make.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("*** BIN={bin}: that folder has no program `ingest`; give")), "{said}");
}

#[test]
fn runs_to_keep_reach_the_store_as_they_are_written() {
    let Some(found) = commands(&["store-gc", "KEEP=it's P/delt"]) else { return };
    assert_eq!(found, [r"target/debug/delt-store --store 'data/store' gc --keep 'it'\''s' --keep 'P/delt'"]);
}

#[test]
fn a_set_of_another_project_is_a_knob_of_every_stage() {
    let argument = r"--set-path 'it'\''s theirs' --teacher 'my teacher.pth'";
    let knobs = ["SET_PATH=it's theirs", "TEACHER=my teacher.pth"];
    let Some(found) = commands(&[&["digits/evaluate-set"][..], &knobs].concat()) else { return };
    assert_eq!(found, STAGES.map(|stage| command(stage, argument)));
    assert_eq!(commands(&[&["digits/evaluate"][..], &knobs].concat()).unwrap(), found);
    let forced = commands(&[&["digits/evaluate-set", "FORCE=1"][..], &knobs].concat()).unwrap();
    assert_eq!(forced[..5], found[..5]);
    assert_eq!(forced[5], format!("{} --force", found[5]));
    let named = make(&["-n", "evaluate-set", "PIPELINE=digits", "BIN=target/debug", "SET_PATH=x"]).unwrap();
    assert_eq!(lines(named)[1..], STAGES.map(|stage| command(stage, "--bin 'target/debug' --set-path 'x'")));
}

#[test]
fn an_apostrophe_in_a_knob_reaches_the_binary() {
    let knobs = ["STORE=a'b c", "DATA=it's (mine), all", "SET=a.b='x'"];
    let Some(found) = commands(&[&["digits/ingest"][..], &knobs].concat()) else { return };
    let expected = command("ingest", r"--data 'it'\''s (mine), all' --set 'a.b='\''x'\'''");
    assert_eq!(found, [expected.replace("data/store", r"a'\''b c")]);
}

/// Checks what calls that must stop at once say.
fn refused(cases: &[(&[&str], String)]) {
    for (arguments, expected) in cases {
        let Some(mut make) = make(&[&["-n"][..], arguments].concat()) else { return };
        let output = make.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("*** {expected}  Stop.")), "{said}");
    }
}

#[test]
fn what_nobody_reads_on_the_command_line_is_answered_with_the_nearest_name() {
    let help = "make help lists what there is.";
    let cases = [
        (&["digits", "STROE=x"][..], format!("unknown knob `STROE`; did you mean `STORE`?; {help}")),
        (&["digits", "data=x"], format!("unknown knob `data`; did you mean `DATA`?; {help}")),
        (&["digits", "v=1"], format!("unknown knob `v`; did you mean `V`?; {help}")),
        (&["digits", "BATCHES=7"], format!("unknown knob `BATCHES`; {help}")),
        (&["digist"], format!("unknown target `digist`; did you mean `digits`?; {help}")),
        (
            &["digits/relable"],
            format!("unknown target `digits/relable`; did you mean `digits/relabel`?; {help}"),
        ),
        (
            &["table1/nonsense"],
            "unknown target `table1/nonsense`; make list lists what there is.".to_owned(),
        ),
        // a folder of this name is there
        (&["tests"], format!("unknown target `tests`; did you mean `test`?; {help}")),
        (
            &["digits/relabel/shard-0"],
            "`digits/relabel/shard-0` is a part of a stage, which needs SHARDS=N.".to_owned(),
        ),
        (
            &["digits/export/shard-0"],
            "`digits/export/shard-0`: this stage has no parts; SHARDS=N divides init-select delt-synthesize relabel, and \
             teacher-train of pipelines with experts."
                .to_owned(),
        ),
        (
            &["digits/evaluate-set"],
            "`make digits/evaluate-set` needs SET_PATH=folder or file, the synthetic set that is to be evaluated.".to_owned(),
        ),
        (
            &["evaluate-set", "SET_PATH=x"],
            "`make evaluate-set` needs PIPELINE=P, whose recipe holds; make help lists them.".to_owned(),
        ),
    ];
    refused(&cases);
}

#[test]
fn a_knob_that_changes_nothing_or_has_no_such_value_is_refused() {
    let cases = [
        (
            &["compare", "SWEEP=digts"][..],
            "SWEEP=digts: pipelines/sweeps has no digts.yaml; did you mean `digits`?; there are: ablation \
             cifar10-matching cifar100-conv3 cifar100-matching digits digits-matching iterations."
                .to_owned(),
        ),
        (
            &["digits/cross-arch", "STEPS=3", "STUDENTS=convnet2"],
            "STEPS=3 changes nothing here; what reads it: P/continual P/report demo.".to_owned(),
        ),
        (
            &["digits/cross-arch", "SHARE=0.5"],
            "SHARE=0.5 changes nothing here; what reads it: P/prune.".to_owned(),
        ),
        (
            &["table1", "DATA=/images"],
            "DATA=/images is where the images of one cell are, make table1/CELL DATA=/images; cells of a table read several data sets, \
             where `ingest.source` of each says."
                .to_owned(),
        ),
        (&["digits", "SHARDS=-2"], "SHARDS=-2: expected one whole number, e.g. SHARDS=5.".to_owned()),
        (
            &["digits/continual", "STEPS=2 5"],
            "STEPS=2 5: expected one whole number, e.g. STEPS=5.".to_owned(),
        ),
        (
            &["digits", "TEACHER=x"],
            "TEACHER= is the teacher of the set that SET_PATH= names, which is missing; a pipeline's own is \
             SET='teacher.import.path=...'."
                .to_owned(),
        ),
    ];
    refused(&cases);
}

#[test]
fn what_the_environment_has_for_other_programs_may_be_given_too() {
    let passed = commands(&["digits/ingest", "CUDA_VISIBLE_DEVICES=0", "DELT_GOLDEN=x"]);
    assert!(passed.is_none_or(|passed| passed == [command("ingest", "")]));
}

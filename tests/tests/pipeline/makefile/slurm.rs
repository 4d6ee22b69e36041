//! What the Makefile submits to Slurm.

use super::*;

/// What make prints and how it calls sbatch, and the folder of the logs.
#[cfg(unix)]
fn submitted(knobs: &[&str]) -> Option<(Vec<String>, String, String)> {
    use std::os::unix::fs::PermissionsExt as _;

    let mut make = make(knobs)?;
    let folder = tempfile::tempdir().unwrap();
    let (logs, sbatch) = (folder.path().join("logs"), folder.path().join("sbatch"));
    // answers as sbatch --parsable does where there are several clusters
    std::fs::write(&sbatch, "#!/bin/sh\necho \"$@\" >>\"$0.calls\"\necho \"$(wc -l <\"$0.calls\");east\"\n")
        .unwrap();
    std::fs::set_permissions(&sbatch, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = folder.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    make.env("PATH", path).arg(format!("SLURM_LOGS={}", logs.display()));
    let said = lines(make);
    let calls = std::fs::read_to_string(folder.path().join("sbatch.calls")).unwrap();
    Some((said, calls, logs.display().to_string()))
}

#[cfg(unix)]
#[test]
fn slurm_gets_a_job_for_each_stage_and_an_array_for_its_parts() {
    let knobs = ["digits", "SLURM=1", "SHARDS=2", "BIN=/opt/delt", "SBATCH=--partition=gpu --time=4:00:00"];
    let Some((said, calls, logs)) = submitted(&knobs) else { return };
    let expected = [
        ("ingest", "%j.out", "", ""),
        ("teacher-train", "%j.out", " --dependency=afterok:1", ""),
        ("init-select/array", "%A_%a.out", " --dependency=afterok:2 --array=0-1", " --shards 2"),
        ("init-select", "%j.out", " --dependency=afterok:2:3", " --shards 2"),
        ("delt-synthesize/array", "%A_%a.out", " --dependency=afterok:4 --array=0-1", " --shards 2"),
        ("delt-synthesize", "%j.out", " --dependency=afterok:4:5", " --shards 2"),
        ("relabel/array", "%A_%a.out", " --dependency=afterok:6 --array=0-1", " --shards 2"),
        ("relabel", "%j.out", " --dependency=afterok:6:7", " --shards 2"),
        ("evaluate", "%j.out", " --dependency=afterok:8", ""),
    ];
    assert_eq!(calls.lines().count(), expected.len(), "{calls}");
    for (call, (name, log, options, shards)) in calls.lines().zip(expected) {
        let stage = name.trim_end_matches("/array");
        assert!(call.starts_with(&format!("--parsable --job-name=digits/{name} --chdir=/")), "{call}");
        let rest = format!(
            " --output={logs}/digits/{name}-{log}{options} --partition=gpu --time=4:00:00 slurm/job /opt/delt/{stage} \
             --pipeline pipelines/digits.yaml --store data/store --device auto --bin /opt/delt{shards}"
        );
        assert!(call.ends_with(&rest), "{call}\n{rest}");
    }
    assert_eq!(said.len(), expected.len() + 1, "one line for each job, and how to follow them");
    assert_eq!(
        said[2],
        format!("digits/init-select/array: job 3, log {logs}/digits/init-select/array-3_*.out")
    );
}

#[cfg(unix)]
#[test]
fn the_place_of_a_page_reaches_the_job_that_writes_it() {
    let Some((said, calls, _)) =
        submitted(&["digits/report", "SLURM=1", "BIN=/opt/delt", "OUTPUT=a page.html"])
    else {
        return;
    };
    let report = calls.lines().last().unwrap();
    assert!(report.ends_with(" slurm/job /opt/delt/report --pipeline pipelines/digits.yaml --store data/store --device auto --bin /opt/delt --output a page.html"), "{report}");
    assert!(said.last().unwrap().starts_with("squeue --me shows the jobs"), "{said:?}");
}

#[test]
fn a_dry_run_submits_nothing() {
    let Some(found) = commands(&["digits", "SLURM=1", "DRY_RUN=1"]) else { return };
    assert_eq!(found, STAGES.map(|stage| command(stage, "--dry-run")));
}

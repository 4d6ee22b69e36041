//! The stage binaries, on the pipeline that is disturbed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The stages that write to the store, in order.
pub(crate) const STAGES: [&str; 6] =
    ["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate"];

const PIPELINE: &str = "tests/pipelines/crash.yaml";

/// Where the binaries and the pipeline are.
pub(crate) struct Stages {
    bin: PathBuf,
    workspace: PathBuf,
}

/// What a process said.
pub(crate) struct Said {
    pub(crate) is_success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            is_success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Said {
    /// The last line on stderr.
    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or("nothing")
    }
}

impl Stages {
    /// Binaries in `bin`, pipelines of the workspace that this was built from.
    pub(crate) fn new(bin: &Path) -> Result<Self> {
        let bin = fs_err::canonicalize(bin)?;
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        for stage in STAGES {
            ensure!(
                bin.join(stage).exists(),
                "{}: is not built; run `make test-crash`",
                bin.join(stage).display()
            );
        }
        Ok(Self { bin, workspace })
    }

    /// A stage, not yet started; its output is kept.
    pub(crate) fn command(&self, stage: &str, store: &Path) -> Command {
        let mut command = Command::new(self.bin.join(stage));
        command
            .current_dir(&self.workspace)
            .env_remove("DATA")
            .args(["--pipeline", PIPELINE, "--branch", "delt", "--verbose", "--device", "flex", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a stage to its end.
    pub(crate) fn run(&self, stage: &str, store: &Path) -> Result<Said> {
        finish(self.command(stage, store))
    }

    /// Runs `report`; what it said, and the page that it wrote.
    pub(crate) fn report(&self, store: &Path, page: &Path) -> Result<(Said, Option<String>)> {
        let mut command = self.command("report", store);
        command.arg("--output").arg(page);
        let said = finish(command)?;
        let text = if said.is_success { Some(fs_err::read_to_string(page)?) } else { None };
        Ok((said, text))
    }

    /// Runs the stages from one on; stops at the first that fails. The table that `evaluate` prints.
    pub(crate) fn run_from(&self, first: &str, store: &Path) -> Result<Result<String, (String, Said)>> {
        let mut table = String::new();
        for stage in from(first) {
            let said = self.run(stage, store)?;
            if !said.is_success {
                return Ok(Err((stage.to_owned(), said)));
            }
            table = said.stdout;
        }
        Ok(Ok(table))
    }
}

/// The stages from one on.
pub(crate) fn from(first: &str) -> impl Iterator<Item = &'static str> {
    STAGES.into_iter().skip_while(move |stage| *stage != first)
}

/// Starts a process and waits for its end.
pub(crate) fn finish(mut command: Command) -> Result<Said> {
    let name = command.get_program().to_owned();
    Ok(command.output().with_context(|| format!("{} does not start", name.display()))?.into())
}

/// Sends a signal by name.
pub(crate) fn signal(child: &Child, name: &str) -> Result<()> {
    Command::new("kill")
        .arg(format!("-{name}"))
        .arg(child.id().to_string())
        .stderr(Stdio::null())
        .status()?;
    Ok(())
}

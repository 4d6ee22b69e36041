//! The program: command line, table to stdout, page and files to the store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use delt_harness::args::{Args, DEFAULT_STORE};
use delt_harness::session::{self, Session};
use delt_pipeline::cells::Table;
use delt_pipeline::config;
use delt_pipeline::plan;
use delt_store::{DEFAULT_CACHE, Location};

use crate::compare::method::{Method, methods_of};
use crate::compare::sweep::{Sweep, pipeline_file};
use crate::compare::{ahead, cells, files, page};
use crate::findings::Findings;
use crate::stage::{REPORTS, check_place};

/// Compares the methods of a sweep
#[derive(Debug, Parser)]
#[command(name = "compare", bin_name = "compare", version)]
struct Command {
    /// Sweep file: which pipelines are compared; or a table, whose cells stand beside what is published
    #[arg(long, value_name = "FILE")]
    sweep: PathBuf,
    /// Override one value in all of them, as the stages were told; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where the images are, as the stages were told
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Artifact store
    #[arg(long, value_name = "FOLDER|URL", env = "DELT_STORE", default_value = DEFAULT_STORE,
        value_parser = OsStringValueParser::new().try_map(Location::parse))]
    store: Location,
    /// Where files of a store in s3://, gs:// or az:// are kept on this machine
    #[arg(long, value_name = "FOLDER", env = "DELT_CACHE", default_value = DEFAULT_CACHE)]
    cache: PathBuf,
    /// Where features for the diversity are computed
    #[arg(long, value_name = "DEVICE", env = "DEVICE", default_value = "auto")]
    device: String,
    /// The page; the table goes beside it as .csv and .parquet
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell all
    #[arg(long, short)]
    verbose: bool,
    /// Only print the names of the pipelines
    #[arg(long, group = "ahead")]
    list: bool,
    /// Of a table: only print what is to run for each cell
    #[arg(long, group = "ahead")]
    dry_run: bool,
    /// With `--dry-run`: as if the store were empty
    #[arg(long, requires = "dry_run")]
    force: bool,
    /// With `--list` or `--dry-run`, of a table: only the cells that have this branch; may be repeated
    #[arg(long = "branch", value_name = "NAME", requires = "ahead")]
    branches: Vec<String>,
}

impl Command {
    /// What the store holds of a pipeline.
    fn session(&self, pipeline: PathBuf) -> Result<Session> {
        let args = Args {
            pipeline,
            set: self.set.clone(),
            data: self.data.clone(),
            set_path: None,
            teacher: None,
            store: self.store.clone(),
            cache: self.cache.clone(),
            bin: None,
            device: self.device.clone(),
            branches: self.branches.clone(),
            force: false,
            dry_run: false,
            assume_files: false,
            verbose: self.verbose,
            shards: None,
            shard: None,
            output: None,
            format: None,
        };
        Session::open(plan::REPORT, args)
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let command = Command::parse();
    session::ended("compare", || run(command))
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn run(command: Command) -> Result<()> {
    check_place(command.output.as_deref())?;
    if command.sweep.is_file()
        && let Some(cells) = Table::read(&command.sweep)?
    {
        let branches_of = |pipeline: &Path| config::load(pipeline, &command.set, command.data.as_deref());
        let chosen = cells::chosen(&cells, &command.branches, branches_of)?;
        if command.dry_run {
            return ahead::run(&cells, &chosen, command.force, |pipeline| command.session(pipeline));
        }
        if command.list {
            cells::list(&cells, &chosen);
            return Ok(());
        }
        return cells::run(&cells, |pipeline| command.session(pipeline));
    }
    let sweep = Sweep::read(&command.sweep)?;
    if command.list {
        sweep.pipelines.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let device = delt_device::open(&command.device)?;
    let (mut methods, mut findings, mut reports) = (Vec::new(), Vec::new(), PathBuf::from(REPORTS));
    for name in &sweep.pipelines {
        let session = command.session(pipeline_file(&command.sweep, name))?;
        methods.extend(methods_of(&session, &device)?);
        findings.push(Findings::collect(&session)?);
        reports = session.store().root().join(REPORTS);
    }
    print!("{}{}{}", page::text(&methods), page::verdict(&findings), notes(&findings));
    let name = command.sweep.file_stem().unwrap_or_default().to_string_lossy();
    let path = command.output.unwrap_or_else(|| reports.join(format!("compare-{name}.html")));
    write(&path, &name, &sweep, &methods, &findings)
        .with_context(|| format!("{}: choose another place with OUTPUT= (--output)", path.display()))?;
    eprintln!("compare: {name} written ({}, and .csv and .parquet beside it)", path.display());
    Ok(())
}

/// What the reader of the table must know, a line each.
fn notes(findings: &[Findings]) -> String {
    let of = |findings: &Findings| {
        let pipeline = findings.table.pipeline.clone();
        findings.notes.iter().map(move |note| format!("note: {pipeline}: {note}\n")).collect::<String>()
    };
    findings.iter().map(of).collect()
}

fn write(path: &Path, name: &str, sweep: &Sweep, methods: &[Method], findings: &[Findings]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    files::write(path, methods)?;
    let html = page::render(name, &sweep.description, methods, findings).into_string();
    Ok(fs_err::write(path, html)?)
}

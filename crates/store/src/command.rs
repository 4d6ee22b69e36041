//! `delt-store` looks after a store of artifacts: lists it, checks every byte, forgets runs, collects garbage, finds paths.
//!
//! `delt-store ls`, `delt-store verify [KEY]`, `delt-store forget RUN`, `delt-store clean RUN`,
//! `delt-store gc [--keep RUN].. [--delete] [--checkpoints]`, `delt-store path KIND-OR-RUN [KEY]`; exit code 0: done, 1: failed or something is damaged, 2: bad usage.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use delt_formats::provenance::ArtifactKind;

use crate::{
    Collection, DEFAULT_CACHE, Entry, Forgotten, Garbage, Holder, KEY_DIGITS, Location, Pointer, Scope,
    Store, expand_home,
};

/// `println!` that ends the command where it panics: at a reader that has seen enough, as in `delt-store ls | head`.
macro_rules! tell {
    ($($line:tt)*) => { writeln!(std::io::stdout(), $($line)*).context("stdout cannot be written")? };
}

/// As the standard library's, but a stderr that is closed ends nothing.
macro_rules! eprintln {
    ($($line:tt)*) => { let _ = writeln!(std::io::stderr(), $($line)*); };
}

/// Looks after a store of artifacts.
#[derive(Parser)]
#[command(name = "delt-store", version)]
struct Args {
    /// The store: a folder, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix.
    #[arg(long, global = true, env = "DELT_STORE", default_value = "data/store",
        value_parser = OsStringValueParser::new().try_map(Location::parse))]
    store: Location,
    /// Folder for files of an object store.
    #[arg(long, global = true, env = "DELT_CACHE", default_value = DEFAULT_CACHE,
        value_parser = OsStringValueParser::new().try_map(expand_home))]
    cache: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists artifacts: kind, key, bytes, producer and the runs which point to them.
    Ls,
    /// Checks every byte of every artifact, or of those whose key begins with KEY.
    Verify {
        /// First digits of a key.
        key: Option<String>,
    },
    /// Removes the pointers of a run, so that `gc` may take what only it led to.
    Forget {
        /// A run (`demo/delt/labels-3407`), or all below a name (`demo`, `demo/delt`).
        run: String,
    },
    /// Removes runs and the artifacts that they alone lead to.
    Clean {
        /// A run (`demo/delt/labels-3407`), or all below a name (`demo`, `demo/delt`).
        run: String,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Names what no run refers to, and deletes it with --delete.
    Gc {
        /// Only these runs count, or all below these names; the others are forgotten with --delete.
        #[arg(long, value_name = "RUN")]
        keep: Vec<String>,
        /// Delete it.
        #[arg(long)]
        delete: bool,
        /// The checkpoints of stopped runs too: they would start again from nothing.
        #[arg(long)]
        checkpoints: bool,
    },
    /// Prints the folder of an artifact, after downloading it from an object store.
    Path {
        /// A kind (`labels`), or a run (`demo/delt/labels-3407`).
        kind_or_run: String,
        /// First digits of the key, where a kind is given.
        key: Option<String>,
    },
}

/// The program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.downcast_ref().is_some_and(is_closed_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delt-store: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

/// Whether all is well.
fn run(args: &Args) -> Result<bool> {
    if let Location::Folder(folder) = &args.store
        && !folder.is_dir()
    {
        bail!("{}: no such store; give its folder by --store or DELT_STORE", folder.display());
    }
    let store = Store::open_at(&args.store, &args.cache)?;
    match &args.command {
        Command::Ls => list(&store),
        Command::Verify { key } => verify(&store, key.as_deref().unwrap_or_default()),
        Command::Forget { run } => forget(&store, run),
        Command::Clean { run, dry_run } => {
            let scope = Scope::Clean(vec![run.clone()]);
            let collection = Collection { delete: !dry_run, checkpoints: false, scope };
            collect_garbage(&store, &collection, "would delete (without --dry-run)")
        }
        Command::Gc { keep, delete, checkpoints } => {
            let scope = if keep.is_empty() { Scope::All } else { Scope::Keep(keep.clone()) };
            let collection = Collection { delete: *delete, checkpoints: *checkpoints, scope };
            collect_garbage(&store, &collection, "would delete (with --delete)")
        }
        Command::Path { kind_or_run, key } => print_path(&store, kind_or_run, key.as_deref()),
    }
}

fn list(store: &Store) -> Result<bool> {
    let (pointers, unreadable): (Vec<_>, Vec<_>) =
        store.readable_pointers()?.into_iter().partition(Result::is_ok);
    let pointers: Vec<Pointer> = pointers.into_iter().flatten().collect();
    tell!("{:<10} {:<KEY_DIGITS$} {:>14} {:<15} runs", "artifact", "key", "bytes", "producer");
    for entry in store.list()? {
        let manifest = &entry.manifest;
        let points_here = |p: &&Pointer| p.kind == manifest.artifact && p.key == manifest.key;
        let runs: Vec<&str> = pointers.iter().filter(points_here).map(|p| p.run.as_str()).collect();
        let (kind, key, bytes) = (manifest.artifact, manifest.key.prefix(KEY_DIGITS), manifest.bytes());
        tell!("{kind:<10} {key} {bytes:>14} {:<15} {}", manifest.provenance.producer, runs.join(" "));
    }
    for error in unreadable.iter().filter_map(|pointer| pointer.as_ref().err()) {
        eprintln!("delt-store: {error}");
    }
    Ok(unreadable.is_empty())
}

fn verify(store: &Store, key: &str) -> Result<bool> {
    let checked = store.verify(key)?;
    if !key.is_empty() && checked.is_empty() {
        bail!("no artifact has a key that begins with `{key}`; see `delt-store ls`");
    }
    let good = checked.iter().filter(|artifact| artifact.result.is_ok()).count();
    let bad = checked.len() - good;
    for artifact in checked {
        match artifact.result {
            Ok(_) => tell!("whole    {}", artifact.dir.display()),
            Err(error) => tell!("damaged  {:#}", anyhow::Error::new(error)),
        }
    }
    eprintln!("{good} whole, {bad} damaged");
    Ok(bad == 0)
}

fn forget(store: &Store, run: &str) -> Result<bool> {
    let forgotten = store.forget(run)?;
    if forgotten.is_empty() {
        bail!("no run `{run}` in this store; see `delt-store ls`");
    }
    for Forgotten { run, pointer } in &forgotten {
        match pointer {
            Some(Pointer { kind, key, .. }) => tell!("{run} ({kind} {})", key.prefix(KEY_DIGITS)),
            None => tell!("{run} (was no pointer)"),
        }
    }
    eprintln!("forgot {} pointers; `delt-store gc` shows what nothing leads to now", forgotten.len());
    Ok(true)
}

fn collect_garbage(store: &Store, collection: &Collection, without_deleting: &str) -> Result<bool> {
    let mut on_wait = |holder: &Holder, dir: &Path, longest: Duration| {
        eprintln!("watching {holder} in {} for up to {} s", dir.display(), longest.as_secs());
    };
    let report = store.gc(collection, &mut on_wait)?;
    for piece in &report.garbage {
        tell!("{:>14} {} ({})", piece.bytes, piece.path.display(), piece.reason);
    }
    for run in &report.forgotten {
        tell!("{:>14} run {run}", "");
    }
    let bytes = |pieces: &[Garbage]| pieces.iter().map(|piece| piece.bytes).sum::<u64>();
    let verb = if report.deleted { "deleted" } else { without_deleting };
    let (pieces, garbage) = (report.garbage.len(), bytes(&report.garbage));
    let runs = match report.forgotten.len() {
        0 => String::new(),
        runs => format!(" and {runs} runs"),
    };
    eprintln!("{verb} {pieces} folders, {garbage} bytes{runs}; {} artifacts stay", report.kept);
    if !report.spared.is_empty() {
        let (pieces, spared) = (report.spared.len(), bytes(&report.spared));
        eprintln!("checkpoints of {pieces} stopped runs stay, {spared} bytes (without --checkpoints)");
    }
    Ok(true)
}

fn print_path(store: &Store, kind_or_run: &str, key: Option<&str>) -> Result<bool> {
    let kind = ArtifactKind::ALL.into_iter().find(|kind| kind.dir() == kind_or_run);
    let entry = match (kind, key) {
        (Some(kind), Some(key)) => by_key(store, kind, key)?,
        (Some(kind), None) => {
            bail!("{kind} is a kind of artifact: add the first digits of a key; see `delt-store ls`")
        }
        (None, Some(_)) => bail!("`{kind_or_run}` is no kind of artifact, so a key cannot follow it"),
        (None, None) => {
            let pointer = store
                .pointer(kind_or_run)?
                .with_context(|| format!("no run `{kind_or_run}` in this store; see `delt-store ls`"))?;
            store.lookup(pointer.kind, &pointer.key)?.with_context(|| {
                let (kind, stage) = (pointer.kind, pointer.kind.stage());
                format!("run `{kind_or_run}` points to {kind} {}, which is gone; re-run {stage}", pointer.key)
            })?
        }
    };
    for name in entry.manifest.files.keys() {
        entry.file(name)?;
    }
    tell!("{}", entry.dir.display());
    Ok(true)
}

fn by_key(store: &Store, kind: ArtifactKind, key: &str) -> Result<Entry> {
    let mut found = store.list()?;
    found.retain(|entry| entry.manifest.artifact == kind && entry.manifest.key.as_str().starts_with(key));
    match found.len() {
        0 => bail!("no {kind} artifact has a key that begins with `{key}`; see `delt-store ls`"),
        1 => Ok(found.remove(0)),
        many => bail!("{many} {kind} artifacts have a key that begins with `{key}`: add digits"),
    }
}

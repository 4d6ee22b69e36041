//! The stage: what the store holds of a pipeline in, one page out.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use delt_harness::session::Session;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::config::Invalid;
use delt_store::{try_place, write_atomic};

use crate::findings::Findings;
use crate::page;

/// Folder of the store for pages.
pub(crate) const REPORTS: &str = "reports";

/// Writes the page of the session's pipeline.
///
/// # Errors
/// An artifact that cannot be read, a run of which the store has nothing, a page that cannot be written, or a page of an
/// evaluated run that one without results would replace.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is its result")]
pub fn run(session: &Session) -> Result<()> {
    let name = session.pipeline_name();
    check_place(session.args.output.as_deref())?;
    let path = page_path(session);
    let (place, store) = (path.display(), session.store().root().display());
    if session.args.dry_run {
        println!("report: {name} would be written to {place}");
        return Ok(());
    }
    let findings = Findings::collect(session)?;
    ensure!(
        findings.dataset.is_some(),
        "nothing of {name} as it stands is in the store {store}; run `make {name}` first, with the same SET, DATA and STORE"
    );
    ensure!(
        findings.is_evaluated() || !path.exists(),
        "{place}: there is a page already, and nothing of {name} as it stands now is evaluated in {store}; run `make {name}` first, \
         with the same SET and DATA, or choose another place with OUTPUT= (--output)"
    );
    let html = page::render(&findings).into_string();
    write_atomic::<std::io::Error>(&path, |file| file.write_all(html.as_bytes())).with_context(|| {
        format!("{place}: the page cannot be written; choose another place with OUTPUT= (--output)")
    })?;
    eprintln!("report: {name} written, {} ({place})", human_bytes(html.len() as u64));
    Ok(())
}

/// Refuses a place where no page can be, before anything is read: `make P/report` and `make compare` ask before the stages run.
pub(crate) fn check_place(output: Option<&Path>) -> Result<()> {
    let Some(output) = output else { return Ok(()) };
    let problem = match try_place(output) {
        _ if output.is_dir() => "is a folder; write OUTPUT=folder/page.html (--output)".to_owned(),
        Err(error) => format!("{error}; choose another place with OUTPUT= (--output)"),
        Ok(()) => return Ok(()),
    };
    Err(Invalid::new("OUTPUT", format!("{}: {problem}", output.display())).into())
}

/// Where the page goes.
pub fn page_path(session: &Session) -> PathBuf {
    let default = || session.store().root().join(REPORTS).join(format!("{}.html", session.pipeline_name()));
    session.args.output.clone().unwrap_or_else(default)
}

//! The stage: what the store holds of a pipeline in, one page out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use delt_harness::session::Session;
use delt_pipeline::amounts::human_bytes;

use crate::findings::Findings;
use crate::page;

/// Folder of the store for pages.
pub(crate) const REPORTS: &str = "reports";

/// Writes the page of the session's pipeline.
///
/// # Errors
/// An artifact that cannot be read, a run of which the store has nothing, a page that cannot be written, or a page of an
/// evaluated run that one without results would replace.
pub fn run(session: &Session) -> Result<()> {
    let name = session.pipeline_name();
    let path = page_path(session);
    if session.args.dry_run {
        eprintln!("report: {name} would be written to {}", path.display());
        return Ok(());
    }
    let findings = Findings::collect(session)?;
    ensure!(
        findings.dataset.is_some(),
        "nothing of {name} as it stands is in the store {}; run `make {name}` first, with the same SET, DATA and STORE",
        session.store().root().display()
    );
    ensure!(
        findings.is_evaluated() || !path.exists(),
        "{}: there is a page already, and nothing of {name} as it stands now is evaluated in {}; run `make {name}` first, with \
         the same SET and DATA, or choose another place with OUTPUT= (--output)",
        path.display(),
        session.store().root().display()
    );
    let html = page::render(&findings).into_string();
    write(&path, &html).with_context(|| {
        format!(
            "{}: the page cannot be written; choose another place with OUTPUT= (--output)",
            path.display()
        )
    })?;
    eprintln!("report: {name} written, {} ({})", human_bytes(html.len() as u64), path.display());
    Ok(())
}

/// Where the page goes.
pub fn page_path(session: &Session) -> PathBuf {
    let default = || session.store().root().join(REPORTS).join(format!("{}.html", session.pipeline_name()));
    session.args.output.clone().unwrap_or_else(default)
}

/// Beside the target, then renamed, so that a browser never meets half a page.
fn write(path: &Path, html: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let partial = path.with_extension("html.partial");
    fs_err::write(&partial, html)?;
    fs_err::rename(&partial, path)?;
    Ok(())
}

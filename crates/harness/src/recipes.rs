//! The recipes of all branches, below the table.

use anyhow::Result;
use delt_pipeline::dag::Node;
use delt_pipeline::recipe::line;

use crate::session::Session;

/// The recipes of all branches of a session, one line each, for below the table.
///
/// # Errors
/// [`delt_pipeline::dag::Missing`] before ingest.
pub fn lines(session: &Session) -> Result<String> {
    let mut text = String::new();
    for group in session.groups() {
        let branch = &group[0];
        let classes = session.dag().entry(branch, Node::Dataset)?.manifest.provenance.classes.len();
        let imported = session.dag().imported_per_class(branch)?;
        text.push_str(&format!("{}: {}\n", branch.group, line(&branch.pipeline, classes, &imported)?));
    }
    Ok(text)
}

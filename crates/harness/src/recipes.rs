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
        // beside a set of another project stands what there is
        let Some(dataset) = session.dag().if_made(branch, Node::Dataset)? else { continue };
        let classes = dataset.manifest.provenance.classes.len();
        if branch.pipeline.synthesize.import.is_some()
            && session.dag().if_made(branch, Node::Synthetic)?.is_none()
        {
            continue;
        }
        let imported = session.dag().imported_per_class(branch)?;
        text.push_str(&format!("{}: {}\n", branch.group, line(&branch.pipeline, classes, &imported)?));
    }
    Ok(text)
}

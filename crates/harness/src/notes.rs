//! What the stages noted of the artifacts behind a result, for tables and pages: `notes` of `run.json`.

use std::path::PathBuf;

use anyhow::Result;
use delt_pipeline::dag::Node;
use delt_store::Entry;
use serde::Deserialize;

use crate::session::Session;

/// A line that the reader of a result must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which artifact says so, e.g. `dataset`.
    pub of: String,
    /// The branches whose result comes from it; empty where that is every one.
    pub branches: Vec<String>,
    /// What it says.
    pub text: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.branches.as_slice() {
            [] => write!(f, "{}: {}", self.of, self.text),
            branches => write!(f, "{} ({}): {}", self.of, branches.join(", "), self.text),
        }
    }
}

/// The notes of all artifacts of the session's branches that have been made, each once, in the order of the stages.
///
/// # Errors
/// What the store reports.
pub fn collect(session: &Session) -> Result<Vec<Note>> {
    let mut found: Vec<(Node, PathBuf, Note)> = Vec::new();
    for branch in session.branches() {
        for node in Node::of(&branch.pipeline) {
            let Some(entry) = session.dag().if_made(branch, node)? else { continue };
            for text in of(&entry) {
                // one artifact may have several parts to play, and those of several seeds may say the same
                let is_said = |(_, dir, note): &&mut (Node, PathBuf, Note)| {
                    note.text == text && (*dir == entry.dir || note.of == name(node))
                };
                match found.iter_mut().find(is_said).map(|(.., note)| &mut note.branches) {
                    Some(branches) if branches.last() == Some(&branch.group) => {}
                    Some(branches) => branches.push(branch.group.clone()),
                    None => {
                        let note = Note { of: name(node), branches: vec![branch.group.clone()], text };
                        found.push((node, entry.dir.clone(), note));
                    }
                }
            }
        }
    }
    found.sort_by_key(|(node, ..)| *node);
    let groups = session.groups().count();
    let said = |(.., note): (Node, PathBuf, Note)| match note.branches.len() == groups {
        true => Note { branches: Vec::new(), ..note },
        false => note,
    };
    Ok(found.into_iter().map(said).collect())
}

/// The notes of all artifacts, one line each, for below the table.
///
/// # Errors
/// As [`collect`].
pub fn lines(session: &Session) -> Result<String> {
    Ok(collect(session)?.iter().map(|note| format!("note: {note}\n")).collect())
}

/// What was noted when an artifact was made; nothing where its record is lost, or older than notes.
pub fn of(entry: &Entry) -> Vec<String> {
    #[derive(Deserialize)]
    struct Record {
        #[serde(default)]
        notes: Vec<String>,
    }
    let record = entry.run_record().and_then(|record| serde_json::from_slice::<Record>(&record).ok());
    record.map_or_else(Vec::new, |record| record.notes)
}

/// What an artifact is called; labels of all seeds are one.
fn name(node: Node) -> String {
    match node {
        Node::Labels(_) => "labels".to_owned(),
        node => node.name(),
    }
}

//! What the reader of the results must know, on the page: what the stages noted of the artifacts behind them.

use delt_harness::notes::Note;
use maud::{Markup, html};

/// The notes as a section of its own; nothing where there are none.
pub(crate) fn section(notes: &[Note]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section {
                h2 { "What to know of these results" }
                (list(notes))
            }
        }
    }
}

/// The notes as a list.
pub(crate) fn list(notes: &[Note]) -> Markup {
    html! {
        @if !notes.is_empty() {
            ul .notes { @for note in notes { li { (note) } } }
        }
    }
}

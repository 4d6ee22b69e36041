//! The store as the DAG sees it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use delt_formats::provenance::{ArtifactKind, Key};
use delt_pipeline::dag::Lookup;
use delt_store::{Entry, Store};

/// A store, and how often it was asked for each artifact: each question to a store in the cloud is a request.
#[derive(Debug)]
pub struct Lookups {
    store: Store,
    asked: RefCell<BTreeMap<(ArtifactKind, Key), u32>>,
}

impl Lookups {
    pub(super) fn new(store: Store) -> Self {
        Self { store, asked: RefCell::default() }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How often the store was asked for each artifact.
    pub fn asked(&self) -> BTreeMap<(ArtifactKind, Key), u32> {
        self.asked.borrow().clone()
    }

    /// Counts a question.
    pub(crate) fn count(&self, kind: ArtifactKind, key: &Key) {
        *self.asked.borrow_mut().entry((kind, key.clone())).or_default() += 1;
    }
}

impl Lookup for Lookups {
    type Entry = Entry;

    fn entry(&self, kind: ArtifactKind, key: &Key) -> Result<Option<Entry>> {
        self.count(kind, key);
        Ok(self.store.lookup(kind, key)?)
    }

    fn pointer(&self, run: &str) -> Result<Option<Key>> {
        Ok(self.store.pointer(run)?.map(|pointer| pointer.key))
    }
}

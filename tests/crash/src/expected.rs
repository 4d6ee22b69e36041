//! What an undisturbed run makes, and every way in which a store differs from it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use delt_formats::{Manifest, provenance::ArtifactKind};
use delt_store::{Collection, Entry, RUN_RECORD, Store};

use crate::stages::{STAGES, Stages, from};

/// How often the undisturbed run is timed and compared with itself.
const RUNS: u32 = 3;

/// The store of an undisturbed run.
pub(crate) struct Expected {
    pub(crate) store: PathBuf,
    /// Manifests by place, e.g. `labels/1f…`.
    manifests: BTreeMap<PathBuf, Manifest>,
    /// What `evaluate` prints.
    pub(crate) table: String,
    /// The page of `report`.
    pub(crate) page: String,
    /// Mean time of each stage.
    seconds: BTreeMap<&'static str, f64>,
}

impl Expected {
    /// Runs all stages several times; they must agree with each other.
    pub(crate) fn make(stages: &Stages, scratch: &Path) -> Result<Self> {
        let mut runs = Vec::new();
        let mut seconds = BTreeMap::new();
        for run in 0..RUNS {
            let store = scratch.join(format!("undisturbed-{run}"));
            let mut table = String::new();
            for stage in STAGES {
                let started = Instant::now();
                let said = stages.run(stage, &store)?;
                *seconds.entry(stage).or_default() += started.elapsed().as_secs_f64() / f64::from(RUNS);
                ensure!(said.is_success, "{stage}: {}", said.stderr);
                table = said.stdout;
            }
            runs.push((manifests(&store)?, table, store));
        }
        let (manifests, table, store) = runs.swap_remove(0);
        ensure!(
            runs.iter().all(|run| run.0 == manifests && run.1 == table),
            "two runs made different artifacts"
        );
        let page = scratch.join("undisturbed.html");
        let page = stages.report(&store, &page)?.1.unwrap_or_default();
        Ok(Self { store, manifests, table, page, seconds })
    }

    /// Mean seconds that a stage takes, its start included.
    pub(crate) fn seconds(&self, stage: &str) -> f64 {
        self.seconds.get(stage).copied().unwrap_or_default()
    }

    /// The artifacts that a stage makes.
    pub(crate) fn made_by(&self, stage: &str) -> Vec<Entry> {
        let made = self.manifests.iter().filter(|(_, manifest)| manifest.provenance.producer == stage);
        made.map(|(place, manifest)| Entry::here(place.clone(), manifest.clone())).collect()
    }

    /// A new store with everything but what a stage makes, and the pointers to that.
    pub(crate) fn store_without(&self, stage: &str, to: &Path) -> Result<()> {
        copy(&self.store, to)?;
        self.remove(stage, to)
    }

    /// A new store with what the stages before one make.
    pub(crate) fn store_before(&self, stage: &str, to: &Path) -> Result<()> {
        copy(&self.store, to)?;
        from(stage).try_for_each(|later| self.remove(later, to))
    }

    /// Gives the artifacts of a store the undisturbed seconds, so that pages differ by nothing else.
    pub(crate) fn copy_run_records(&self, store: &Path) -> Result<()> {
        for place in self.manifests.keys().filter(|place| store.join(place).exists()) {
            fs_err::copy(self.store.join(place).join(RUN_RECORD), store.join(place).join(RUN_RECORD))?;
        }
        Ok(())
    }

    /// Takes what a stage makes out of a store.
    pub(crate) fn remove(&self, stage: &str, store: &Path) -> Result<()> {
        let opened = Store::open(store)?;
        for entry in self.made_by(stage) {
            for pointer in opened.pointers()? {
                if pointer.kind == entry.manifest.artifact && pointer.key == entry.manifest.key {
                    fs_err::remove_file(store.join("runs").join(format!("{}.json", pointer.run)))?;
                }
            }
            let dir = store.join(&entry.dir);
            if dir.exists() {
                fs_err::remove_dir_all(dir)?;
            }
        }
        Ok(())
    }

    /// What a reader would believe of this store and should not: an artifact that is listed and is not, byte for byte, the
    /// expected one. Half a pointer counts too.
    pub(crate) fn believed_wrongly(&self, store: &Path) -> Result<Option<String>> {
        let opened = Store::open(store)?;
        for entry in opened.list()? {
            if let Some(problem) = self.difference(store, &entry)? {
                return Ok(Some(problem));
            }
        }
        let broken = opened.readable_pointers()?.into_iter().find_map(Result::err);
        Ok(broken.map(|error| error.to_string()))
    }

    fn difference(&self, store: &Path, entry: &Entry) -> Result<Option<String>> {
        let place = entry.dir.strip_prefix(store)?;
        if let Err(error) = entry.verify() {
            return Ok(Some(format!("is listed as whole: {error}")));
        }
        Ok(match self.manifests.get(place) {
            Some(expected) if *expected == entry.manifest => None,
            Some(_) => Some(format!("{}: another manifest than undisturbed", place.display())),
            None => Some(format!("{}: is not made undisturbed", place.display())),
        })
    }

    /// What is wrong with a store in which all stages have run to their end; garbage is collected.
    pub(crate) fn is_not_reached(&self, store: &Path) -> Result<Option<String>> {
        let opened = Store::open(store)?;
        if let Some(broken) = opened.verify("")?.into_iter().find_map(|checked| checked.result.err()) {
            return Ok(Some(broken.to_string()));
        }
        if let Some(problem) = self.believed_wrongly(store)? {
            return Ok(Some(problem));
        }
        if manifests(store)?.len() != self.manifests.len() {
            return Ok(Some("an artifact is missing".to_owned()));
        }
        let pointed = |store: &Store| -> Result<Vec<(String, ArtifactKind, String)>> {
            let pointers = store.pointers()?.into_iter();
            Ok(pointers.map(|it| (it.run, it.kind, it.key.to_string())).collect())
        };
        if pointed(&opened)? != pointed(&Store::open(&self.store)?)? {
            return Ok(Some("pointers differ".to_owned()));
        }
        let all = &Collection { delete: true, checkpoints: true, ..Collection::default() };
        let kept = opened.gc(all, &mut |_, _, _| {})?.kept;
        let left = opened.gc(all, &mut |_, _, _| {})?.garbage;
        if kept != self.manifests.len() || !left.is_empty() {
            return Ok(Some(format!("garbage collection keeps {kept} artifacts and leaves {left:?}")));
        }
        Ok(None)
    }

    /// Runs the stages from one on to their end and looks for differences.
    pub(crate) fn is_not_reached_from(
        &self,
        first: &str,
        store: &Path,
        stages: &Stages,
    ) -> Result<Option<String>> {
        match stages.run_from(first, store)? {
            Err((stage, said)) => Ok(Some(format!("{stage} fails afterwards: {}", said.last_line()))),
            Ok(table) if table != self.table => Ok(Some("evaluate prints another table".to_owned())),
            Ok(_) => self.is_not_reached(store),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} artifacts, the same {RUNS} times;", self.manifests.len())?;
        STAGES.iter().try_for_each(|stage| write!(f, " {stage} {:.2} s", self.seconds(stage)))
    }
}

fn manifests(store: &Path) -> Result<BTreeMap<PathBuf, Manifest>> {
    let listed = Store::open(store)?.list()?.into_iter();
    listed.map(|entry| Ok((entry.dir.strip_prefix(store)?.to_owned(), entry.manifest))).collect()
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs_err::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

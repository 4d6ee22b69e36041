//! What a store needs of the storage it lies in. The rules (who may make an artifact, when it is there, what is garbage) are
//! written once, above [`Backend`]; a folder and a place in an object store are two of it.
//!
//! Things in a store have names of parts joined by `/`: `labels/KEY`, `runs/demo/delt/labels.json`. How the claim on an
//! artifact is called and kept is the backend's own.

use std::fmt;
use std::path::PathBuf;

use delt_formats::manifest::Manifest;
use delt_formats::provenance::ArtifactKind;
use object_store::UpdateVersion;

use crate::gc::Garbage;
use crate::holder::Holder;
use crate::judgment::Inspection;
use crate::{KEY_DIGITS, Key, Result};

/// The storage of a store, as all who use it see it.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Where something of this name lies: a path, or a URL.
    fn path(&self, name: &str) -> PathBuf;

    /// The content of a small file, if it is there.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Writes a small file so that a reader sees all of it or none.
    fn write(&self, name: &str, text: &str) -> Result<()>;

    /// Removes what lies there; what is gone already is not an error.
    fn remove(&self, name: &str) -> Result<()>;

    /// The names of all files below a name, whole and in order; those are left out that begin with a dot, or lie below such.
    fn names(&self, below: &str) -> Result<Vec<String>>;

    /// Judges the place of an artifact by its manifest.
    fn inspect(&self, place: &Place) -> Result<Inspection>;

    /// As [`Self::inspect`], but first brings a publication to its end that lacks nothing but its last step. The caller holds
    /// the claim.
    fn settle(&self, place: &Place) -> Result<Inspection> {
        self.inspect(place)
    }

    /// All places of artifacts whose keys begin with these digits, by kind and key, and what lies there.
    fn artifacts(&self, digits: &str) -> Result<Vec<Artifact>>;

    /// Whether something in the place of an artifact belongs to it; what does not, nobody will ask for. A folder comes and
    /// goes as a whole.
    fn is_part(&self, _place: &Place, _manifest: &Manifest, _name: &str) -> bool {
        true
    }

    /// What runs have left that stopped, apart from those whose claims are `busy`. In an object store nothing is made: it
    /// lies in the folders of machines, and claims stay.
    fn left_behind(&self, _busy: &[&str]) -> Result<Vec<Piece>> {
        Ok(Vec::new())
    }

    /// The name of the claim on an artifact.
    fn claim_name(&self, place: &Place) -> String;

    /// The names of all claims, whoever holds them or has held them.
    fn claims(&self) -> Result<Vec<String>>;

    /// Looks at the claim of this name; gives nothing if it changed during the look.
    fn look_at_claim(&self, claim: &str) -> Result<Option<Standing>>;

    /// Takes a claim that is free or stale, if it still stands as it was seen: of any number who try at once, one succeeds at
    /// most, and none where a claim that is alive stands there by now.
    fn take_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<bool>;

    /// Writes the holder's moved counter over its own claim, which it has just seen. No claim that was removed is brought
    /// back by it.
    fn renew_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<()>;

    /// Gives a claim back, unless it is somebody else's by now. Where that fails, it becomes stale.
    fn give_back_claim(&self, claim: &str, holder: &Holder);
}

/// The place of an artifact: its kind, and the digits of its key that name it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The kind.
    pub(crate) kind: ArtifactKind,
    digits: String,
    /// The whole key, where it is known.
    key: Option<Key>,
}

impl Place {
    /// Where the artifact of a key lies.
    pub(crate) fn of(kind: ArtifactKind, key: &Key) -> Self {
        Self { kind, digits: key.prefix(KEY_DIGITS).to_owned(), key: Some(key.clone()) }
    }

    /// A place of which only the name is known.
    pub(crate) fn named(kind: ArtifactKind, digits: String) -> Self {
        Self { kind, digits, key: None }
    }

    /// Its name in the store.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.kind, self.digits)
    }

    /// Its name where all kinds lie side by side.
    pub(crate) fn flat_name(&self) -> String {
        format!("{}-{}", self.kind, self.digits)
    }

    /// Whether an artifact of this manifest belongs here.
    pub(crate) fn is_of(&self, manifest: &Manifest) -> bool {
        let is_key = || self.key.as_ref().is_none_or(|key| *key == manifest.key);
        manifest.artifact == self.kind && manifest.key.prefix(KEY_DIGITS) == self.digits && is_key()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key.as_ref().map_or(self.digits.as_str(), Key::as_str))
    }
}

/// What is removed as a whole: its name, and its size where that is known already.
pub(crate) type Part = (String, Option<u64>);

/// A place of an artifact, and what lies there.
pub(crate) struct Artifact {
    /// The place.
    pub(crate) place: Place,
    /// What it turns out to be.
    pub(crate) found: Inspection,
    /// All that lies there, in the order in which it is removed.
    pub(crate) parts: Vec<Part>,
}

/// Garbage that goes together.
pub(crate) struct Piece {
    /// The artifact of whose place it is, if of any.
    pub(crate) place: Option<Place>,
    /// The claim under which it is removed; none where nobody can want it.
    pub(crate) claim: Option<String>,
    /// What is removed, in this order.
    pub(crate) parts: Vec<Part>,
    /// What people are told of it.
    pub(crate) garbage: Garbage,
}

/// A claim as it stood at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its content, which stands still while its holder does.
    pub(crate) content: Vec<u8>,
    /// Who holds it; none where it is free.
    pub(crate) holder: Option<Holder>,
    /// Where claims are numbered files: their numbers in ascending order, of which the last counts.
    pub(crate) numbers: Vec<u64>,
    /// Where a claim is an object: its version, if there is one.
    pub(crate) version: Option<UpdateVersion>,
}

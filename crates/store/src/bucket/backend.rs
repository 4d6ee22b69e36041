//! An object store as the storage of a store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use delt_formats::manifest::Manifest;
use delt_formats::provenance::ArtifactKind;
use object_store::{Error as ObjectError, ObjectStoreExt, PutMode};

use super::{Bucket, content_name, manifest_name};
use crate::backend::{Artifact, Backend, Part, Place, Standing};
use crate::holder::Holder;
use crate::judgment::Inspection;
use crate::{Result, StoreError, WORK_DIR};

/// A claim that nobody holds.
const GIVEN_BACK: &str = "null";

impl Backend for Bucket {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/{name}", self.url))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(name)?.map(|(bytes, _)| bytes))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        self.put(name, text.to_owned(), PutMode::Overwrite).map(drop)
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.delete(&self.at(name))) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed(name, "deleted", source)),
        }
    }

    fn names(&self, below: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.list(below)?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !name.split('/').any(|part| part.starts_with('.')));
        Ok(names)
    }

    fn inspect(&self, place: &Place) -> Result<Inspection> {
        Ok(self.judge(place)?.0)
    }

    /// Objects without a manifest are of an upload that goes on, or was cut off. A manifest goes first, so that nobody finds
    /// an artifact without its files.
    fn artifacts(&self, digits: &str) -> Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for kind in ArtifactKind::ALL {
            let mut places: BTreeMap<String, Vec<Part>> = BTreeMap::new();
            for (name, bytes) in self.list(kind.dir())? {
                if let Some(key) = name.split('/').nth(1).filter(|key| key.starts_with(digits)) {
                    places.entry(key.to_owned()).or_default().push((name, Some(bytes)));
                }
            }
            for (key, mut parts) in places {
                let place = Place::named(kind, key);
                let manifest = manifest_name(&place);
                parts.sort_by_key(|(name, _)| *name != manifest);
                let has_manifest = parts.first().is_some_and(|(name, _)| *name == manifest);
                let found = if has_manifest { self.inspect(&place)? } else { Inspection::Absent };
                artifacts.push(Artifact { place, found, parts });
            }
        }
        Ok(artifacts)
    }

    fn is_part(&self, place: &Place, manifest: &Manifest, name: &str) -> bool {
        let is_file = |rest: &str| rest.starts_with('/');
        name == manifest_name(place) || name.strip_prefix(&content_name(manifest)).is_some_and(is_file)
    }

    fn claim_name(&self, place: &Place) -> String {
        format!("{WORK_DIR}/{}.json", place.flat_name())
    }

    fn claims(&self) -> Result<Vec<String>> {
        Ok(self.list(WORK_DIR)?.into_iter().map(|(name, _)| name).collect())
    }

    fn look_at_claim(&self, claim: &str) -> Result<Option<Standing>> {
        let Some((content, version)) = self.get(claim)? else { return Ok(Some(Standing::default())) };
        let holder = Holder::parse(&content);
        Ok(Some(Standing { content, holder, version: Some(version), ..Standing::default() }))
    }

    fn take_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<bool> {
        let is_taken = self.replace(claim, seen, holder.to_json())?;
        if is_taken && self.is_conditional.get().is_none() {
            self.ensure_conditional(claim, holder)?;
        }
        Ok(is_taken)
    }

    fn renew_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<()> {
        self.replace(claim, seen, holder.to_json()).map(drop)
    }

    fn give_back_claim(&self, claim: &str, holder: &Holder) {
        if let Ok(Some(seen)) = self.look_at_claim(claim)
            && seen.holder.as_ref().is_some_and(|now| now.is_same_claim(holder))
        {
            let _ = self.replace(claim, &seen, GIVEN_BACK.to_owned());
        }
    }
}

impl Bucket {
    /// Refuses a server that takes the same claim once more, though it is there: on it nothing is exclusive. Asked once in a
    /// process.
    pub(super) fn ensure_conditional(&self, claim: &str, holder: &Holder) -> Result<()> {
        if self.put(claim, holder.to_json(), PutMode::Create)? {
            self.remove(claim)?;
            return Err(StoreError::Unconditional { url: self.url.clone() });
        }
        let _ = self.is_conditional.set(());
        Ok(())
    }

    /// Replaces a claim, if it still stands as it was seen.
    fn replace(&self, claim: &str, seen: &Standing, text: String) -> Result<bool> {
        self.put(claim, text, seen.version.clone().map_or(PutMode::Create, PutMode::Update))
    }
}

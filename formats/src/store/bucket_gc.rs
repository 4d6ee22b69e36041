//! Garbage collection in an object store. Claims stay: nobody can delete one without the risk of deleting the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use super::bucket_claim::{BucketAttempt, BucketClaim, CLAIMS, attempt_by_name, holder_of};
use super::claim::{Holder, Watch};
use super::gc::Pointers;
use super::{Collection, Garbage, GarbageReason, GcReport, KEY_DIGITS, Result, Store, StoreError};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::provenance::ArtifactKind;

/// How often a claim is tried that somebody else touches at the same moment.
const CLAIM_ATTEMPTS: u32 = 5;

/// What is deleted together.
struct Piece {
    /// `KIND/KEY`.
    artifact: String,
    /// Names of its objects, the manifest first.
    objects: Vec<String>,
    garbage: Garbage,
}

pub(super) fn collect(
    store: &Store,
    bucket: &Arc<Bucket>,
    collection: &Collection,
    on_wait: &mut dyn FnMut(&Holder, &Path, Duration),
) -> Result<GcReport> {
    let mut watches = BTreeMap::new();
    let busy = busy(store, bucket, &mut watches, on_wait)?;
    if let (true, Some((dir, holder))) = (collection.delete, busy.first()) {
        return Err(StoreError::Busy { holder: Box::new(holder.clone()), dir: dir.clone() });
    }
    let pointers = Pointers::of(store, &collection.scope)?;
    let (kept, mut pieces) = find(bucket, &pointers)?;
    if collection.delete {
        pointers.forget(store)?;
        let mut deleted = Vec::new();
        for piece in pieces {
            if delete(store, bucket, &piece, &mut watches)? {
                deleted.push(piece);
            }
        }
        pieces = deleted;
    }
    let garbage = pieces.into_iter().map(|piece| piece.garbage).collect();
    Ok(GcReport {
        garbage,
        spared: Vec::new(),
        forgotten: pointers.forgotten,
        kept,
        deleted: collection.delete,
    })
}

/// The claims whose holders are at work, by name.
fn busy(
    store: &Store,
    bucket: &Bucket,
    watches: &mut BTreeMap<String, Watch>,
    on_wait: &mut dyn FnMut(&Holder, &Path, Duration),
) -> Result<Vec<(PathBuf, Holder)>> {
    let place = |name: &str| PathBuf::from(format!("{}/{name}", bucket.url()));
    let mut look = |name: &str| -> Result<Option<(Holder, Duration)>> {
        let Some(seen) = bucket.get(name)? else { return Ok(None) };
        let Some(holder) = holder_of(&seen).filter(|holder| !holder.is_gone()) else { return Ok(None) };
        let silent = watches.entry(name.to_owned()).or_default().unchanged_for(0, &seen.bytes);
        Ok(Some((holder, silent)))
    };
    let (mut open, mut busy) = (Vec::new(), Vec::new());
    for (name, _) in bucket.list(CLAIMS)? {
        if let Some((holder, _)) = look(&name)? {
            on_wait(&holder, &place(&name), store.timing.stale);
            open.push((name, holder));
        }
    }
    while !open.is_empty() {
        std::thread::sleep(store.timing.poll);
        for (name, first) in std::mem::take(&mut open) {
            match look(&name)? {
                Some((holder, _)) if holder != first => busy.push((place(&name), holder)),
                Some((_, silent)) if silent < store.timing.stale => open.push((name, first)),
                Some(_) | None => {}
            }
        }
    }
    Ok(busy)
}

/// The number of artifacts that stay, and the garbage.
fn find(bucket: &Bucket, pointers: &Pointers) -> Result<(usize, Vec<Piece>)> {
    let mut believed: Vec<(String, Manifest)> = Vec::new();
    let mut objects: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for (artifact, manifest) in bucket.manifests()? {
        match manifest {
            Ok(manifest) => believed.push((artifact, manifest)),
            Err(error) if error.is_newer() => return Err(error),
            // its files go as those of an upload that never ended
            Err(_) => {}
        }
    }
    for kind in ArtifactKind::ALL {
        for (name, bytes) in bucket.list(kind.dir())? {
            let artifact: Vec<&str> = name.split('/').take(2).collect();
            objects.entry(artifact.join("/")).or_default().push((name, bytes));
        }
    }
    let content: BTreeMap<String, String> =
        believed.iter().map(|(name, manifest)| (name.clone(), content_folder(name, manifest))).collect();
    let (kept, unreached) = pointers.divide(believed, |(_, manifest)| manifest);
    let unreached: BTreeMap<String, Manifest> = unreached.into_iter().collect();
    let mut pieces = Vec::new();
    for (artifact, objects) in objects {
        let manifest = format!("{artifact}/{MANIFEST_FILE}");
        let is_of_artifact = |name: &str| {
            content.get(&artifact).is_some_and(|folder| name == manifest || name.starts_with(folder.as_str()))
        };
        let (own, stray): (Vec<_>, Vec<_>) = objects.into_iter().partition(|(name, _)| is_of_artifact(name));
        if unreached.contains_key(&artifact) {
            pieces.push(piece(bucket, &artifact, own, GarbageReason::Unreferenced));
        }
        if !stray.is_empty() && !pointers.is_clean {
            pieces.push(piece(bucket, &artifact, stray, GarbageReason::Broken));
        }
    }
    Ok((kept, pieces))
}

fn content_folder(artifact: &str, manifest: &Manifest) -> String {
    format!("{artifact}/{}/", manifest.digest.prefix(KEY_DIGITS))
}

fn piece(bucket: &Bucket, artifact: &str, objects: Vec<(String, u64)>, reason: GarbageReason) -> Piece {
    let bytes = objects.iter().map(|(_, bytes)| bytes).sum();
    let mut objects: Vec<String> = objects.into_iter().map(|(name, _)| name).collect();
    objects.sort_by_key(|name| !name.ends_with(MANIFEST_FILE));
    let path = PathBuf::from(format!("{}/{artifact}", bucket.url()));
    Piece { artifact: artifact.to_owned(), objects, garbage: Garbage { path, bytes, reason } }
}

/// Deletes a piece under its claim, after a second look.
fn delete(
    store: &Store,
    bucket: &Arc<Bucket>,
    piece: &Piece,
    watches: &mut BTreeMap<String, Watch>,
) -> Result<bool> {
    let claim = format!("{CLAIMS}/{}.json", piece.artifact.replace('/', "-"));
    let Some(_held) = claim_now(store, bucket, &claim, watches)? else { return Ok(false) };
    let still = match piece.garbage.reason {
        GarbageReason::Unreferenced => !store.pointers()?.iter().any(|pointer| {
            !pointer.is_source() && piece.artifact == super::bucket::artifact_name(pointer.kind, &pointer.key)
        }),
        // files of an upload that another machine has brought to its end since
        _ => {
            let manifest = bucket.get(&format!("{}/{MANIFEST_FILE}", piece.artifact))?;
            let manifest = manifest.and_then(|seen| Manifest::parse(&piece.garbage.path, &seen.bytes).ok());
            let folder = manifest.map(|manifest| content_folder(&piece.artifact, &manifest));
            folder.is_none_or(|folder| !piece.objects.iter().any(|name| name.starts_with(&folder)))
        }
    };
    if still {
        piece.objects.iter().try_for_each(|name| bucket.delete(name))?;
    }
    Ok(still)
}

fn claim_now(
    store: &Store,
    bucket: &Arc<Bucket>,
    claim: &str,
    watches: &mut BTreeMap<String, Watch>,
) -> Result<Option<BucketClaim>> {
    for _ in 0..CLAIM_ATTEMPTS {
        match attempt_by_name(bucket, claim, store.timing, watches.entry(claim.to_owned()).or_default())? {
            BucketAttempt::Taken(held) => return Ok(Some(held)),
            BucketAttempt::Held(_) => return Ok(None),
            BucketAttempt::Retry => {}
        }
    }
    Ok(None)
}

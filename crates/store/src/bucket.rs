//! A store in an object store; artifacts are made in and read from a folder of this machine.
//!
//! ```text
//! KIND/KEY/manifest.json          as in a folder; written last, and only where there is none
//! KIND/KEY/CONTENT/FILE           its files, below the digest of their content: two makers never write one object
//! work/KIND-KEY.json              the claim on it, replaced only by whoever has seen what is there
//! runs/PIPELINE/BRANCH/NAME.json  a pointer
//! ```
//!
//! Nothing is renamed or listed to find an artifact, and no clocks of two hosts are compared.
//!
//! A claim is one object. Every step (to take it, to move its counter, to give it back) names the version that it replaces,
//! so that of two only one succeeds, and a holder whose step fails has lost its claim. One that was given back stays as
//! `null`: nobody can delete it without the risk of deleting the next.

mod backend;
mod transfer;

use std::fmt;
use std::sync::{Arc, OnceLock};

use delt_formats::manifest::{MANIFEST_FILE, Manifest};
use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{
    Error as ObjectError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::runtime::Runtime;
use url::Url;

use crate::backend::{Backend, Place};
use crate::judgment::Inspection;
use crate::{KEY_DIGITS, Result, StoreError};

/// The environment that may configure access: credentials, region, endpoint.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A request may take a day as long as something comes at least every 30 seconds; the environment may set other times
/// (`AWS_TIMEOUT`). The client's own 30 seconds for a whole request break off downloads of gigabytes.
const PATIENCE: [(&str, &str); 2] = [("timeout", "1 day"), ("read_timeout", "30 seconds")];

/// A place in an object store.
pub(crate) struct Bucket {
    /// Without a final `/`.
    pub(crate) url: String,
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    runtime: Runtime,
    /// Set once the server is known to heed conditions.
    is_conditional: OnceLock<()>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.url)
    }
}

impl Bucket {
    /// Connects by what the environment says; nothing is asked of the server yet.
    pub(crate) fn connect(url: &Url) -> Result<Self> {
        // several versions of the TLS library's cryptography could be compiled in: this one is meant
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(profile) = unread_profile(url, |name| std::env::var(name).ok()) {
            return Err(StoreError::Profile { url: url.as_str().to_owned(), profile });
        }
        let variables =
            std::env::vars().filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)));
        let patience = PATIENCE.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (objects, prefix) = object_store::parse_url_opts(url, patience.into_iter().chain(variables))
            .map_err(|source| remote(url.as_str().to_owned(), "opened", source))?;
        Self::new(url.as_str().trim_end_matches('/').to_owned(), objects.into(), prefix)
    }

    /// A place in any object store.
    pub(crate) fn new(url: String, objects: Arc<dyn ObjectStore>, prefix: ObjectPath) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object store")
            .enable_all()
            .build()?;
        Ok(Self { url, objects, prefix, runtime, is_conditional: OnceLock::new() })
    }

    fn at(&self, name: &str) -> ObjectPath {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), ObjectPath::join)
    }

    /// Why something that was tried with an object failed.
    fn failed(&self, name: &str, tried: &'static str, source: ObjectError) -> StoreError {
        remote(format!("{}/{name}", self.url), tried, source)
    }

    /// An object, if it is there, with what replaces it only if it is still the same.
    fn get(&self, name: &str) -> Result<Option<(Vec<u8>, UpdateVersion)>> {
        let found = self.runtime.block_on(async {
            let result = self.objects.get(&self.at(name)).await?;
            let version =
                UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
            Ok((result.bytes().await?.to_vec(), version))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed(name, "read", source)),
        }
    }

    /// Writes a small object; false where `mode` forbids it because of what is there, or is there no more.
    fn put(&self, name: &str, bytes: impl Into<PutPayload>, mode: PutMode) -> Result<bool> {
        let (is_update, is_free) = (matches!(mode, PutMode::Update(_)), matches!(mode, PutMode::Overwrite));
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.runtime.block_on(self.objects.put_opts(&self.at(name), bytes.into(), options)) {
            Ok(_) => Ok(true),
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) if !is_free => {
                Ok(false)
            }
            // without an update, what is not there is the bucket
            Err(ObjectError::NotFound { .. }) if is_update => Ok(false),
            Err(source) => Err(self.failed(name, "written", source)),
        }
    }

    /// Names and sizes of all objects below a name, sorted.
    fn list(&self, below: &str) -> Result<Vec<(String, u64)>> {
        let listed = self.objects.list(Some(&self.at(below)));
        let listed: Vec<ObjectMeta> = self
            .runtime
            .block_on(listed.try_collect())
            .map_err(|source| self.failed(below, "listed", source))?;
        let named = |meta: ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(self.prefix.as_ref())?;
            Some((name.trim_start_matches('/').to_owned(), meta.size))
        };
        let mut found: Vec<(String, u64)> = listed.into_iter().filter_map(named).collect();
        found.sort();
        Ok(found)
    }

    /// Judges the manifest of a place; with what replaces it only if it is still the same.
    fn judge(&self, place: &Place) -> Result<(Inspection, Option<UpdateVersion>)> {
        let name = manifest_name(place);
        let Some((text, version)) = self.get(&name)? else { return Ok((Inspection::Absent, None)) };
        let path = self.path(&name);
        Ok((Inspection::of(&path, Manifest::parse(&path, &text), place), Some(version)))
    }
}

/// What says where credentials come from, so that a profile has no part in it.
const OTHER_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];

/// The profile that the environment names for S3, where it names no credentials: the client would pass it over.
fn unread_profile(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let has_others = OTHER_CREDENTIALS.iter().any(|name| set(name).is_some());
    let profile = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(set)?;
    (url.scheme() == "s3" && !has_others).then_some(profile)
}

fn manifest_name(place: &Place) -> String {
    format!("{}/{MANIFEST_FILE}", place.name())
}

/// The name of the folder of an artifact's files.
pub(crate) fn content_name(manifest: &Manifest) -> String {
    let place = Place::of(manifest.artifact, &manifest.key);
    format!("{}/{}", place.name(), manifest.digest.prefix(KEY_DIGITS))
}

fn remote(place: String, tried: &'static str, source: ObjectError) -> StoreError {
    StoreError::Remote { place, tried, cause: Box::new(source) }
}

#[cfg(test)]
mod tests;

//! Canonical JSON and the BLAKE3 digests taken of it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{FormatError, Result};

/// Hex digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// Writes a value as JSON with sorted keys and no white space, so that equal values give equal bytes.
///
/// # Panics
///
/// If the type cannot be JSON at all (a map whose keys are not text): a fault of the type, never of the data.
pub fn canonical_json(value: &impl Serialize) -> String {
    sorted(json_value(value)).to_string()
}

/// Writes a value as indented JSON with sorted keys and a final newline, for files that people open.
///
/// # Panics
///
/// As [`canonical_json`].
pub fn readable_json(value: &impl Serialize) -> String {
    format!("{:#}\n", sorted(json_value(value)))
}

fn json_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("artifact types have text keys and serialize without failing")
}

/// Sorts the keys of every object, whichever order serde_json's map keeps in this build.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(String, Value)> = map.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().map(|(key, member)| (key, sorted(member))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// A BLAKE3 digest as 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Digests bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().to_string())
    }

    /// Digests the canonical JSON of a value.
    pub fn of_json(value: &impl Serialize) -> Self {
        Self::of_bytes(canonical_json(value).as_bytes())
    }

    /// Digests a file, streaming.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs_err::File::open(path.as_ref())?)?;
        Ok(Self::of_hasher(&hasher))
    }

    /// The digest of what a hasher has seen.
    pub fn of_hasher(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize().to_hex().to_string())
    }

    /// All 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `digits` hex digits.
    pub fn prefix(&self, digits: usize) -> &str {
        &self.0[..digits.min(DIGEST_DIGITS)]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Digest {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self> {
        let is_digest =
            text.len() == DIGEST_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest {
            Ok(Self(text.to_owned()))
        } else {
            Err(FormatError::Digest { found: text.to_owned() })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = FormatError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth_and_white_space_is_gone() {
        let value = json!({"b": [{"z": 1, "a": 0.5}], "a": null, "ab": "x \" y"});
        assert_eq!(canonical_json(&value), r#"{"a":null,"ab":"x \" y","b":[{"a":0.5,"z":1}]}"#);
    }

    #[test]
    fn struct_field_order_does_not_reach_the_digest() {
        #[derive(Serialize)]
        struct Declared {
            width: u32,
            depth: u32,
        }
        assert_eq!(
            Digest::of_json(&Declared { width: 128, depth: 3 }),
            Digest::of_json(&json!({"depth": 3, "width": 128}))
        );
    }

    #[test]
    fn digest_of_empty_bytes_is_blake3s() {
        // https://github.com/BLAKE3-team/BLAKE3 test_vectors.json, input_len 0
        let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of_bytes(b"").to_string(), expected);
    }

    #[test]
    fn a_digest_that_is_not_64_hex_digits_is_refused() {
        let error = serde_json::from_str::<Digest>("\"../../etc\"").unwrap_err();
        assert_eq!(error.to_string(), "`../../etc` is not a digest: expected 64 lower-case hex digits");
    }

    #[test]
    fn file_and_bytes_have_one_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs_err::write(&path, b"some bytes").unwrap();
        assert_eq!(Digest::of_file(&path).unwrap(), Digest::of_bytes(b"some bytes"));
    }
}

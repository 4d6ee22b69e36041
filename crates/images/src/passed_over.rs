//! What lies in a folder of images and is not used: counted by reason, so that nothing is left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many names are shown of those that one reason has.
const NAMES_SHOWN: usize = 3;

/// Why a file or folder is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Neither its name nor its first bytes are those of an image.
    NoImage,
    /// A file of no bytes whose name is not that of an image.
    Empty,
    /// Its name begins with a dot, or it is what macOS leaves in archives.
    Hidden,
    /// A link to what is not there, whose name is not that of an image.
    BrokenLink,
    /// A file that may not be read, whose name is not that of an image.
    Unreadable,
    /// An image that belongs to no class.
    NoClass,
    /// A folder beside those of the splits.
    BesideSplits,
}

impl Reason {
    /// The reason behind a number: of one, and of several.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::NoImage => ["file that is no image", "files that are no images"],
            Self::Empty => ["empty file", "empty files"],
            Self::Hidden => ["hidden", "hidden"],
            Self::BrokenLink => ["link that leads nowhere", "links that lead nowhere"],
            Self::Unreadable => ["file that cannot be read", "files that cannot be read"],
            Self::NoClass => ["image without a class", "images without a class"],
            Self::BesideSplits => ["folder of no split that is read", "folders of no split that is read"],
        }
    }
}

/// How much was passed over, and the first names by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<Reason, (u64, BTreeSet<String>)>);

impl PassedOver {
    /// Counts one.
    pub fn add(&mut self, reason: Reason, name: impl Into<String>) {
        self.count(reason, 1, [name.into()]);
    }

    /// Counts what was passed over elsewhere.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(reason, (count, names))| self.count(reason, count, names));
    }

    fn count(&mut self, reason: Reason, count: u64, names: impl IntoIterator<Item = String>) {
        let (all, shown) = self.0.entry(reason).or_default();
        *all += count;
        shown.extend(names);
        while shown.len() > NAMES_SHOWN {
            shown.pop_last();
        }
    }

    /// Takes one back that is read after all.
    pub fn forget(&mut self, reason: Reason, name: &str) {
        if let Some((count, names)) = self.0.get_mut(&reason) {
            *count -= u64::from(names.remove(name));
        }
        self.0.retain(|_, (count, _)| *count > 0);
    }

    /// One line for people beside the number of images that were found; `None` where nothing was passed over.
    pub fn note(&self, images: usize) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{images} images found; passed over: {self}"))
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(reason, (count, names)): (&Reason, &(u64, BTreeSet<String>))| {
            let [one, several] = reason.words();
            let more = if *count > names.len() as u64 { ", .." } else { "" };
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{count} {} ({names}{more})", if *count == 1 { one } else { several })
        };
        f.write_str(&self.0.iter().map(part).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_the_first_names_shown_whatever_their_order() {
        let mut passed = PassedOver::default();
        assert_eq!(passed.note(3), None);
        for name in ["d", "b", "c", "a"] {
            passed.add(Reason::NoImage, name);
        }
        let mut other = PassedOver::default();
        other.add(Reason::Empty, "x");
        passed.extend(other);
        let expected =
            "7 images found; passed over: 4 files that are no images (a, b, c, ..), 1 empty file (x)";
        assert_eq!(passed.note(7).as_deref(), Some(expected));
    }
}

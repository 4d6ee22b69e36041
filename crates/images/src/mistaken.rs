//! What lies under the name of an image and is none: told by its first bytes, with what to do about it.

/// What a file holds in place of an image, and the cure; `None` where its first bytes tell nothing.
pub fn content(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const UNPACK: &str = "unpack it";
    const ANSWERED: &str = "a server answered with it in place of the file: download that again";
    const COMPRESSED: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    ];
    if let Some((_, found)) = COMPRESSED.iter().find(|(first, _)| bytes.starts_with(first)) {
        return Some((found, UNPACK));
    }
    let first = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).trim_start().to_ascii_lowercase();
    let begins = |with: &str| first.starts_with(with);
    Some(match () {
        () if begins("version https://git-lfs") => ("a Git LFS pointer", "run `git lfs pull` in its clone"),
        () if begins("/annex/objects/") => ("a git-annex pointer", "run `git annex get` in its clone"),
        () if begins("<!doctype html") || begins("<html") => ("a web page (HTML)", ANSWERED),
        () if begins("<") && first.contains("<svg") => ("SVG", "convert it"),
        () if begins("<?xml") || begins("<error") => ("XML", ANSWERED),
        () if begins("%pdf") => ("PDF", "convert it"),
        () => return None,
    })
}

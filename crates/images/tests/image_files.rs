//! Which files of a tree are images, and their order.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::path::Path;

use delt_images::ImagesError;
use delt_images::image_files::{below, folders_in};

fn put(root: &Path, relative: &str) {
    let path = root.join(relative);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, relative).unwrap();
}

fn listed(root: &Path) -> Result<Vec<String>, ImagesError> {
    Ok(below(root, root, || Ok::<_, ImagesError>(()))?.into_iter().map(|file| file.relative).collect())
}

#[test]
fn pictures_are_listed_by_code_point_and_what_is_hidden_or_none_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["b/2.png", "b/10.PNG", "Z/deep/x.jpeg", "a.webp", "b/notes.txt", ".git/x.png", "b/.x.png"] {
        put(dir.path(), file);
    }
    put(dir.path(), "__MACOSX/b/2.png");
    assert_eq!(listed(dir.path()).unwrap(), ["Z/deep/x.jpeg", "a.webp", "b/10.PNG", "b/2.png"]);
    assert_eq!(folders_in(dir.path()).unwrap(), ["Z", "b"]);
    let file = below(&dir.path().join("b"), dir.path(), || Ok::<_, ImagesError>(())).unwrap().remove(0);
    assert_eq!((file.path, file.bytes), (dir.path().join("b/10.PNG"), 8));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.png"));
    std::fs::write(&path, b"").unwrap();
    assert_eq!(
        listed(dir.path()).unwrap_err().to_string(),
        format!("{}: the name is not UTF-8; rename the file or folder", path.display())
    );
}

//! Which files of a tree are images, and their order.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::path::Path;

use delt_images::ImagesError;
use delt_images::image_files::{below, folders_in, look_through};

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

#[test]
fn a_file_of_another_name_is_an_image_if_it_begins_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0";
    let begun: [(&str, &[u8]); 8] = [
        ("0", b"\x89PNG\r\n\x1a\n"),
        ("1.jpg_large", b"\xff\xd8\xff\xe0"),
        ("2.2021", b"GIF89a"),
        ("3.x", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("4", bmp),
        ("notes", b"BMW and other cars, of which there are many"),
        ("raw.nef", b"II*\0\x08\0\0\0"),
        ("void", b""),
    ];
    for (name, bytes) in begun {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let listing = look_through(dir.path(), dir.path(), || Ok::<_, ImagesError>(())).unwrap();
    let names: Vec<&str> = listing.files.names().collect();
    assert_eq!(names, ["0", "1.jpg_large", "2.2021", "3.x", "4"]);
    assert_eq!(
        listing.passed_over.to_string(),
        "2 files that are no images (notes, raw.nef), 1 empty file (void)"
    );
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

//! What the fuzz targets share: a file for readers that take a path, and what counts as a panic.

use std::path::{Path, PathBuf};

/// Writes the bytes to a file of this process, in memory where the system has a place for that, and gives its path.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let path = folder.join(format!("delt-fuzz-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).expect("the file is written");
    path
}

/// Lets panics of libraries that the project guards pass, which libFuzzer's own hook takes for crashes; to be called first.
pub fn pass_guarded_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !delt_guard::foreign::is_reading() {
            before(panic);
        }
    }));
}

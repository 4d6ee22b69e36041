//! The one file of CUDA's toolkit that kernels need when they run: the functions, such as `log`, that a GPU has no instruction for.
//! Looked for where cubecl looks, but before any work.

use std::path::{Path, PathBuf};

/// Where toolkits lie when `CUDA_PATH` names none.
const ROOTS: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];

/// Below one of these.
const FILE: &str = "nvvm/libdevice/libdevice.10.bc";

/// What is missing, if it is.
#[cfg(feature = "cuda")]
pub(crate) fn missing() -> Option<String> {
    missing_below(std::env::var_os("CUDA_PATH").map(PathBuf::from), &ROOTS.map(Path::new))
}

fn missing_below(named: Option<PathBuf>, roots: &[&Path]) -> Option<String> {
    let has_file = |root: &Path| root.join(FILE).is_file();
    match named {
        Some(root) if has_file(&root) => None,
        Some(root) => {
            Some(format!("libdevice.10.bc was not found: {} (CUDA_PATH) has no {FILE}", root.display()))
        }
        None if roots.iter().any(|root| has_file(root)) => None,
        None => Some(format!(
            "libdevice.10.bc was not found: CUDA_PATH is not set, and no {FILE} is in {}",
            ROOTS.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_looked_for_where_cuda_path_points_and_else_in_the_usual_places() {
        let folder = std::env::temp_dir().join(format!("delt-toolkit-{}", std::process::id()));
        let said = |named: bool| {
            let named = named.then(|| folder.clone());
            missing_below(named, &[&folder]).unwrap_or_default()
        };
        assert!(said(true).contains("(CUDA_PATH) has no nvvm/libdevice/libdevice.10.bc"), "{}", said(true));
        assert!(said(false).contains("CUDA_PATH is not set"), "{}", said(false));
        let file = folder.join(FILE);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, b"BC").expect("written");
        assert_eq!([said(true), said(false)], ["", ""]);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}

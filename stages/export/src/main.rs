//! `export --pipeline pipelines/digits.yaml --format imagefolder --output folder`: results in a format of other tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    export::main()
}

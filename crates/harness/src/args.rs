//! Command line of every stage binary: *where* to read and write, never *what* to compute.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use delt_store::{DEFAULT_CACHE, Location, expand_home};

/// Where artifacts go unless the user says otherwise; the Makefile has the same.
pub const DEFAULT_STORE: &str = "data/store";

/// Arguments shared by all stages.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Pipeline to run: a YAML file of `pipelines/`
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub pipeline: PathBuf,

    /// Override one value, e.g. `--set synthesize.batch=50`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Where the images are: replaces `ingest.source.path` of the pipeline
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub data: Option<PathBuf>,

    /// A synthetic set that another project made: a branch on top of the pipeline's, called as the folder or file. This run works
    /// on it alone; the others stand in the table as far as the store has them
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub set_path: Option<PathBuf>,

    /// The teacher of that branch in place of the pipeline's: a file of weights, or a run of the store, e.g. `demo/delt`
    #[arg(long, value_name = "FILE|RUN", requires = "set_path", value_parser = path())]
    pub teacher: Option<PathBuf>,

    /// Artifact store, shared by all runs and machines that see it
    #[arg(long, value_name = "FOLDER|URL", env = "DELT_STORE", default_value = DEFAULT_STORE,
        value_parser = OsStringValueParser::new().try_map(Location::parse))]
    pub store: Location,

    /// Where files of a store in s3://, gs:// or az:// are kept on this machine
    #[arg(long, value_name = "FOLDER", env = "DELT_CACHE", default_value = DEFAULT_CACHE, value_parser = path())]
    pub cache: PathBuf,

    /// Where these programs lie, for the commands that messages tell (make: BIN=)
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub bin: Option<PathBuf>,

    /// auto, flex, or cuda, wgpu, vulkan with an index where there are several: cuda:1. teacher-train and evaluate take more
    /// than one: cuda:0,cuda:1
    #[arg(long, visible_alias = "devices", value_name = "DEVICE", env = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,

    /// Only this branch of the pipeline (default: all of them); may be repeated
    #[arg(long = "branch", value_name = "NAME")]
    pub branches: Vec<String>,

    /// Make the artifact again even if the store has it
    #[arg(long)]
    pub force: bool,

    /// Print keys and inputs and whether they are cached; compute nothing
    #[arg(long)]
    pub dry_run: bool,

    /// In a dry run: take images and weights that lie outside the store for given, whether they are there or not
    #[arg(long, requires = "dry_run")]
    pub assume_files: bool,

    /// Tell all: configurations, devices, work ahead, each artifact
    #[arg(long, short)]
    pub verbose: bool,

    /// Split the work into so many parts, the artifacts of which any number of processes and machines may make
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: Option<u32>,

    /// Make only this part of them, from 0
    #[arg(long, value_name = "I", requires = "shards")]
    pub shard: Option<u32>,

    /// Where a stage that writes for people or for other tools puts it: a page (report), a folder (export)
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub output: Option<PathBuf>,

    /// As what results are written for other tools (export); without it they are listed
    #[arg(long, value_name = "NAME")]
    pub format: Option<String>,
}

/// Takes a path; a leading `~/`, which no shell expands inside the quotes of `STORE='~/store'`, is the home folder.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(expand_home)
}

/// Takes the form of a device; whether this build has it is known where it is opened.
fn device(text: &str) -> Result<String, String> {
    let is_known = |text: &str| match text.split_once(':') {
        Some((name, index)) => ["cuda", "wgpu", "vulkan"].contains(&name) && index.parse::<usize>().is_ok(),
        None => ["auto", "flex", "cuda", "wgpu", "vulkan"].contains(&text),
    };
    if text.split(',').all(is_known) {
        Ok(text.to_owned())
    } else {
        Err("expected auto, flex, cuda, wgpu, vulkan, e.g. cuda:1, or several: cuda:0,cuda:1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_leading_tilde_of_any_path_is_the_home_folder() {
        let home = std::env::var_os("HOME").expect("HOME is set where tests run");
        let given = [
            "ingest",
            "--pipeline",
            "~/p.yaml",
            "--store",
            "~/st",
            "--data",
            "~/my images",
            "--output",
            "~/p.html",
        ];
        let args = Args::try_parse_from(given).expect("parses");
        let below = |name: &str| Path::new(&home).join(name);
        assert_eq!((args.pipeline, args.store), (below("p.yaml"), Location::Folder(below("st"))));
        assert_eq!((args.data, args.output), (Some(below("my images")), Some(below("p.html"))));
    }
}

//! The kinds of source: a module each, and the table that says which of them reads which section.
//!
//! A new kind is a variant of [`Section`], a row of [`open`] and a module that checks the layout and gives a [`Source`]:
//! [`LabeledFiles`](crate::labeled_files::LabeledFiles) where the images are files, else a type of its own. Splits that a
//! source lacks are made by [`crate::seeded_split`], archives of others read by `tar_archive`.

pub mod cifar;
pub mod container;
pub mod csv;
pub mod digits;
pub mod huggingface_parquet;
pub mod idx;
pub mod image_folder;
pub mod imagenet;
pub mod imagenette;
mod planes;
pub mod stl10;
pub mod svhn;
pub mod tiny_imagenet;
pub mod webdataset;

use delt_pipeline::config::ingest::Source as Section;

use crate::download::Downloads;
use crate::error::Result;
use crate::source::Source;

/// Opens the source that a pipeline names.
///
/// # Errors
/// What is missing or laid out otherwise than expected.
pub fn open(section: &Section, downloads: &Downloads) -> Result<Box<dyn Source>> {
    Ok(match section {
        Section::EmbeddedDigits(digits) => Box::new(digits::open(digits)?),
        Section::Cifar10(archive) => cifar::open(&cifar::CIFAR10, archive, downloads)?,
        Section::Cifar100(archive) => cifar::open(&cifar::CIFAR100, archive, downloads)?,
        Section::HuggingfaceParquet(files) => Box::new(huggingface_parquet::open(files)?),
        Section::Csv(table) => Box::new(csv::open(table)?),
        Section::Idx(files) => Box::new(idx::open(files)?),
        Section::ImageFolder(folder) => Box::new(image_folder::open(folder)?),
        Section::FashionMnist(files) => Box::new(idx::published(&idx::FASHION_MNIST, files, downloads)?),
        Section::Imagenet100(files) => Box::new(imagenet::open(files, imagenet::IMAGENET100)?),
        Section::Imagenet1k(files) => Box::new(imagenet::open(files, imagenet::IMAGENET1K)?),
        Section::Imagenette(files) => Box::new(imagenette::open(&imagenette::IMAGENETTE, files, downloads)?),
        Section::Imagewoof(files) => Box::new(imagenette::open(&imagenette::IMAGEWOOF, files, downloads)?),
        Section::Mnist(files) => Box::new(idx::published(&idx::MNIST, files, downloads)?),
        Section::Stl10(files) => Box::new(stl10::open(files, downloads)?),
        Section::Svhn(files) => Box::new(svhn::open(files, downloads)?),
        Section::TinyImagenet(files) => Box::new(tiny_imagenet::open(files, downloads)?),
        Section::Webdataset(shards) => Box::new(webdataset::open(shards)?),
    })
}

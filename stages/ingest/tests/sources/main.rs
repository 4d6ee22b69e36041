//! Every source read from tiny made-up files, and each refusal's message; the shared real data where they are there.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

mod cifar;
mod cifar_unpacked;
mod coverage;
mod csv;
mod digits;
mod download;
mod folder_layouts;
mod huggingface;
mod huggingface_tables;
mod idx;
mod image_folder;
mod imagenet;
mod made_up;
mod matlab;
mod packed;
mod real_data;
mod session;
mod stl10;
mod svhn;
mod tiny_imagenet;
mod webdataset;

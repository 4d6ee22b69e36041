//! Stage 5, `evaluate`: trains students from scratch on the stored views and tests them on the real test images.
//!
//! Takes the synthetic images, the labels and the data set, makes `history.parquet` and `summary.json`. It replays
//! views and never augments by itself. Run it with `make digits/evaluate`.

pub mod stage;
pub mod student;
pub mod summary;

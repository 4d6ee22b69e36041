//! TensorBoard's event files: frames as TFRecord has them, each with one `Event` message, which holds scalars here.

use std::io::{self, Write};

/// What the first event says of the file.
const VERSION: &str = "brain.Event:2";
/// Added to every rotated checksum (TFRecord).
const MASK: u32 = 0xa282_ead8;

// field numbers of tensorflow/core/util/event.proto and framework/summary.proto, with their wire types
const STEP: u8 = 2 << 3;
const FILE_VERSION: u8 = 3 << 3 | 2;
const SUMMARY: u8 = 5 << 3 | 2;
const VALUE: u8 = 1 << 3 | 2;
const TAG: u8 = 1 << 3 | 2;
const SIMPLE_VALUE: u8 = 2 << 3 | 5;

/// Writes an event file. No event has a time, so that equal scalars give equal bytes.
#[derive(Debug)]
pub struct EventWriter<W> {
    out: W,
}

impl<W: Write> EventWriter<W> {
    /// Begins a file. TensorBoard reads those with `tfevents` in their names.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut event = Vec::new();
        put_bytes(&mut event, FILE_VERSION, VERSION.as_bytes());
        writer.frame(&event)?;
        Ok(writer)
    }

    /// Adds the scalars of a step, each with its tag.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, scalar) in scalars {
            let mut value = Vec::new();
            put_bytes(&mut value, TAG, tag.as_bytes());
            value.push(SIMPLE_VALUE);
            value.extend(scalar.to_le_bytes());
            put_bytes(&mut summary, VALUE, &value);
        }
        let mut event = vec![STEP];
        put_varint(&mut event, step);
        put_bytes(&mut event, SUMMARY, &summary);
        self.frame(&event)
    }

    /// Length, its checksum, content, its checksum.
    fn frame(&mut self, content: &[u8]) -> io::Result<()> {
        let length = (content.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(content)?;
        self.out.write_all(&masked(content).to_le_bytes())
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn masked(content: &[u8]) -> u32 {
    crc32c::crc32c(content).rotate_right(15).wrapping_add(MASK)
}

/// A field with a length.
fn put_bytes(message: &mut Vec<u8>, field: u8, content: &[u8]) {
    message.push(field);
    put_varint(message, content.len() as u64);
    message.extend(content);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by tensorboard 2.21:
    ///
    /// ```python
    /// from tensorboard.compat.proto.event_pb2 import Event
    /// from tensorboard.compat.proto.summary_pb2 import Summary
    /// from tensorboard.summary.writer.record_writer import RecordWriter
    /// writer = RecordWriter(open("events", "wb"))
    /// writer.write(Event(file_version="brain.Event:2").SerializeToString())
    /// values = [Summary.Value(tag="loss", simple_value=0.25), Summary.Value(tag="lr", simple_value=1e-3)]
    /// writer.write(Event(step=300, summary=Summary(value=values)).SerializeToString())
    /// writer.close()
    /// print(open("events", "rb").read().hex())
    /// ```
    #[test]
    fn files_are_those_of_tensorboard() {
        let expected = "0f000000000000006d532b091a0d627261696e2e4576656e743a32fc9851291d00000000000000602fdf2310ac022a180a0b0a046c6f7373150000803e0a090a026c72156f12833a67803089";
        let mut bytes = Vec::new();
        let mut writer = EventWriter::new(&mut bytes).unwrap();
        writer.scalars(300, &[("loss", 0.25), ("lr", 1e-3)]).unwrap();
        writer.finish().unwrap();
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }
}

//! The operations of a pickle: a stack, marks on it, and what is remembered.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Kind, Part, Value};

/// Operations of a pickle, at most: the largest one of CIFAR has about half a million.
const MOST_OPERATIONS: usize = 4_000_000;

/// The parts of the first pickle of a file, and what it is.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Part>, Value), String> {
    let mut reader = Reader {
        bytes,
        at: 0,
        parts: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    for _ in 0..MOST_OPERATIONS {
        let operation = reader.take(1)?.start;
        if bytes[operation] == b'.' {
            let root = reader.pop()?;
            return Ok((reader.parts, root));
        }
        reader.step(bytes[operation])?;
    }
    Err(format!("more than {MOST_OPERATIONS} operations"))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    parts: Vec<Part>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Value>,
}

impl Reader<'_> {
    fn step(&mut self, operation: u8) -> Result<(), String> {
        match operation {
            0x80 | 0x95 => self.skip(if operation == 0x80 { 1 } else { 8 })?,
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Int((operation == 0x88).into())),
            b'K' | b'M' => {
                let value = self.number(if operation == b'K' { 1 } else { 2 })?;
                self.stack.push(Value::Int(value as i64));
            }
            b'J' => {
                let value = self.number(4)? as u32;
                self.stack.push(Value::Int(i64::from(value.cast_signed())));
            }
            b'I' => self.line_number()?,
            b'G' => {
                self.skip(8)?;
                self.stack.push(Value::None);
            }
            0x8a => self.long()?,
            b'U' | b'C' | 0x8c => self.push_text(1)?,
            b'T' | b'X' | b'B' => self.push_text(4)?,
            0x8d | 0x8e | 0x96 => self.push_text(8)?,
            b'c' => {
                let name = [self.line()?, self.line()?].map(|line| Value::Text(line.start, line.end));
                self.push_part(Kind::Global, name.to_vec());
            }
            0x93 => self.join(2, Kind::Global)?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.set_state()?,
            // the bytes of a tensor
            b'Q' => {
                self.pop()?;
                self.stack.push(Value::None);
            }
            b')' | b']' => self.push_part(Kind::Sequence, Vec::new()),
            b'}' => self.push_part(Kind::Dictionary, Vec::new()),
            0x85..=0x87 => self.join(usize::from(operation - 0x84), Kind::Sequence)?,
            b't' | b'l' | b'd' => {
                let items = self.marked()?;
                self.push_part(if operation == b'd' { Kind::Dictionary } else { Kind::Sequence }, items);
            }
            b'a' => self.append(1, Kind::Sequence)?,
            b's' => self.append(2, Kind::Dictionary)?,
            b'e' | b'u' => {
                let items = self.marked()?;
                self.last(if operation == b'e' { Kind::Sequence } else { Kind::Dictionary })?.extend(items);
            }
            b'q' | b'r' => {
                let place = self.number(if operation == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' | b'j' => {
                let place = self.number(if operation == b'h' { 1 } else { 4 })?;
                self.stack.push(*self.memo.get(&place).ok_or("something that was not remembered")?);
            }
            other => return Err(format!("operation 0x{other:02x}, which no pickle of arrays and lists has")),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or("an early end")?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(|_| ())
    }

    /// A number of up to eight bytes, the lowest first.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        let place = self.take(count)?;
        Ok(self.bytes[place].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<Range<usize>, String> {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == b'\n').ok_or("an early end")?;
        let line = self.take(length)?;
        self.take(1)?;
        Ok(line)
    }

    fn line_number(&mut self) -> Result<(), String> {
        let line = self.line()?;
        let number = std::str::from_utf8(&self.bytes[line]).ok().and_then(|text| text.trim().parse().ok());
        self.stack.push(Value::Int(number.ok_or("a number that is none")?));
        Ok(())
    }

    /// A number of up to eight bytes behind their count.
    fn long(&mut self) -> Result<(), String> {
        let count = self.number(1)?;
        if count > 8 {
            return Err("a number of more than eight bytes".to_owned());
        }
        let number = self.number(count as usize)?;
        let shift = 64 - 8 * count as u32;
        self.stack
            .push(Value::Int(number.checked_shl(shift).map_or(0, |number| number.cast_signed() >> shift)));
        Ok(())
    }

    fn push_text(&mut self, length_bytes: usize) -> Result<(), String> {
        let length = usize::try_from(self.number(length_bytes)?).map_err(|_| "an early end")?;
        let place = self.take(length)?;
        self.stack.push(Value::Text(place.start, place.end));
        Ok(())
    }

    fn push_part(&mut self, kind: Kind, items: Vec<Value>) {
        self.stack.push(Value::Part(self.parts.len()));
        self.parts.push((kind, items));
    }

    fn pop(&mut self) -> Result<Value, String> {
        let is_there = self.marks.last().is_none_or(|mark| self.stack.len() > *mark);
        self.stack.pop().filter(|_| is_there).ok_or_else(|| "an operation without its operands".to_owned())
    }

    fn popped(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<Value>, String>>()?;
        items.reverse();
        Ok(items)
    }

    fn join(&mut self, count: usize, kind: Kind) -> Result<(), String> {
        let items = self.popped(count)?;
        self.push_part(kind, items);
        Ok(())
    }

    /// A name with arguments; an ordered dictionary is a dictionary.
    fn call(&mut self) -> Result<(), String> {
        let call = self.popped(2)?;
        let part = |value| if let Value::Part(part) = value { self.parts.get(part) } else { None };
        let is_ordered = matches!(part(call[0]), Some((Kind::Global, name)) if self.is_text(name[1], b"OrderedDict"))
            && matches!(part(call[1]), Some((Kind::Sequence, arguments)) if arguments.is_empty());
        match is_ordered {
            true => self.push_part(Kind::Dictionary, Vec::new()),
            false => self.push_part(Kind::Call, call),
        }
        Ok(())
    }

    /// The state of a call; attributes of an ordered dictionary are nothing.
    fn set_state(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        if self.last(Kind::Dictionary).is_err() {
            self.last(Kind::Call)?.push(state);
        }
        Ok(())
    }

    fn is_text(&self, value: Value, text: &[u8]) -> bool {
        matches!(value, Value::Text(start, end) if &self.bytes[start..end] == text)
    }

    fn append(&mut self, count: usize, kind: Kind) -> Result<(), String> {
        let items = self.popped(count)?;
        self.last(kind)?.extend(items);
        Ok(())
    }

    /// Everything behind the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark =
            self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("an end without its start")?;
        Ok(self.stack.split_off(mark))
    }

    /// The members of what lies on top, which is of a kind.
    fn last(&mut self, kind: Kind) -> Result<&mut Vec<Value>, String> {
        let top = self.stack.last().copied();
        let part = if let Some(Value::Part(part)) = top { self.parts.get_mut(part) } else { None };
        part.filter(|(of, _)| *of == kind)
            .map(|(_, items)| items)
            .ok_or_else(|| "an operation without its operands".to_owned())
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let value = *self.stack.last().ok_or("an operation without its operands")?;
        self.memo.insert(place, value);
        Ok(())
    }
}

//! Pickles of plain data and numpy arrays of bytes, read without running anything that they ask for.
//!
//! Calls are kept as what they are, a name with arguments. All parts lie in one list and refer to each other by their place, and
//! texts stay where they are in the file, so that what a pickle repeats a million times takes no memory and no stack.

mod reader;

use std::borrow::Cow;

/// Bytes of the names on all ways through dictionaries, and dictionaries in each other: more than any network has.
const MOST_NAME_BYTES: usize = 1 << 26;
const MOST_DEPTH: usize = 16;

/// A part of a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Python's `None`, or a number that is not whole.
    None,
    /// A whole number or a truth value.
    Int(i64),
    /// Text or bytes, by their place in the file.
    Text(usize, usize),
    /// A list, tuple, dictionary, name or call, by its place among the parts.
    Part(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lists, tuples and sets.
    Sequence,
    /// Keys and values in turn.
    Dictionary,
    /// Module and name.
    Global,
    /// Name, arguments and perhaps the state.
    Call,
}

/// A list, tuple, dictionary, name or call.
type Part = (Kind, Vec<Value>);

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<'a> {
    bytes: &'a [u8],
    parts: Vec<Part>,
    root: Value,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle of a file.
    ///
    /// # Errors
    /// What no such pickle has, or an early end.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (parts, root) = reader::read(bytes)?;
        Ok(Self { bytes, parts, root })
    }

    /// The value of a key of the outermost dictionary.
    pub fn get(&self, key: &str) -> Option<Value> {
        let Value::Part(root) = self.root else { return None };
        let (Kind::Dictionary, items) = &self.parts[root] else { return None };
        let is_key = |value: Value| self.text(value).is_some_and(|text| &*text == key.as_bytes());
        items.chunks_exact(2).find(|pair| is_key(pair[0])).map(|pair| pair[1])
    }

    /// What the dictionaries lead to that is none, in their order: all keys on the way with dots between. None where there is
    /// more than a network has.
    pub fn names(&self) -> Option<Vec<String>> {
        let (mut names, mut bytes) = (Vec::new(), MOST_NAME_BYTES);
        self.add_names(self.root, (String::new(), 0), &mut names, &mut bytes)?;
        Some(names)
    }

    /// Adds the names below one, which has so many keys; `bytes` may still be taken.
    fn add_names(
        &self,
        value: Value,
        (name, keys): (String, usize),
        names: &mut Vec<String>,
        bytes: &mut usize,
    ) -> Option<()> {
        *bytes = bytes.checked_sub(1 + name.len())?;
        let items = match value {
            Value::Part(part) if self.parts[part].0 == Kind::Dictionary => &self.parts[part].1,
            _ => {
                names.push(name);
                return Some(());
            }
        };
        if keys == MOST_DEPTH {
            return None;
        }
        for pair in items.chunks_exact(2) {
            let key = match pair[0] {
                Value::Int(number) => number.to_string(),
                key => String::from_utf8(self.text(key)?.into_owned()).ok()?,
            };
            let below = if keys == 0 { key } else { format!("{name}.{key}") };
            self.add_names(pair[1], (below, keys + 1), names, bytes)?;
        }
        Some(())
    }

    /// The members of a list or tuple.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        let Value::Part(part) = value else { return None };
        let (Kind::Sequence, items) = &self.parts[part] else { return None };
        Some(items)
    }

    /// A text or bytes; bytes that Python 3 wrote for Python 2 are a call of `_codecs.encode`.
    pub fn text(&self, value: Value) -> Option<Cow<'a, [u8]>> {
        if let Value::Text(start, end) = value {
            return Some(Cow::Borrowed(&self.bytes[start..end]));
        }
        let [arguments, ..] = self.call(value, "_codecs", "encode")? else { return None };
        let Value::Text(start, end) = *self.items(*arguments)?.first()? else { return None };
        let text = std::str::from_utf8(&self.bytes[start..end]).ok()?;
        text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
    }

    /// Sides and values of a numpy array of bytes (`uint8`), row by row.
    pub fn byte_array(&self, value: Value) -> Option<(Vec<usize>, Cow<'a, [u8]>)> {
        let is_row_by_row = |order: Value| match order {
            Value::Int(is_by_column) => is_by_column == 0,
            order => self.text(order).is_some_and(|order| &*order == b"C"),
        };
        let (shape, kind, order, raw) = if let Some([arguments]) = self.call(value, "numeric", "_frombuffer")
        {
            let [raw, kind, shape, order] = *self.items(*arguments)? else { return None };
            (shape, kind, order, raw)
        } else {
            let [_, state] = self.call(value, "multiarray", "_reconstruct")? else { return None };
            let [_, shape, kind, order, raw] = *self.items(*state)? else { return None };
            (shape, kind, order, raw)
        };
        let [arguments, ..] = self.call(kind, "numpy", "dtype")? else { return None };
        let kind = self.text(*self.items(*arguments)?.first()?)?;
        let side =
            |side: &Value| if let Value::Int(side) = side { usize::try_from(*side).ok() } else { None };
        let shape = self.items(shape)?.iter().map(side).collect::<Option<Vec<usize>>>()?;
        let raw = self.text(raw)?;
        let values = shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
        let is_bytes = matches!(&*kind, b"u1" | b"|u1" | b"uint8" | b"B");
        (is_bytes && is_row_by_row(order) && values == Some(raw.len())).then_some((shape, raw))
    }

    /// Arguments and state of a call of something whose module ends so.
    fn call(&self, value: Value, module: &str, name: &str) -> Option<&[Value]> {
        let Value::Part(part) = value else { return None };
        let (Kind::Call, items) = &self.parts[part] else { return None };
        let Value::Part(callee) = items[0] else { return None };
        let (Kind::Global, global) = &self.parts[callee] else { return None };
        let (found_module, found_name) = (self.text(global[0])?, self.text(global[1])?);
        (found_module.ends_with(module.as_bytes()) && &*found_name == name.as_bytes()).then_some(&items[1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python 3.11 with numpy 2: `pickle.dumps({b"labels": [3, 300, -1], b"data": numpy.arange(6, dtype="uint8").reshape(2, 3)},
    /// protocol=2)`, and by Python 2's layout of the published files.
    const PROTOCOL_2: &[u8] = include_bytes!("../tests/array_protocol2.pkl");
    const PROTOCOL_5: &[u8] = include_bytes!("../tests/array_protocol5.pkl");

    #[test]
    fn lists_and_arrays_of_bytes_are_read_from_old_and_new_pickles() {
        for bytes in [PROTOCOL_2, PROTOCOL_5] {
            let pickle = Pickle::read(bytes).unwrap();
            let labels = pickle.items(pickle.get("labels").unwrap()).unwrap();
            assert_eq!(labels, [Value::Int(3), Value::Int(300), Value::Int(-1)]);
            let (shape, values) = pickle.byte_array(pickle.get("data").unwrap()).unwrap();
            assert_eq!((shape, &*values), (vec![2, 3], &[0, 1, 2, 3, 4, 255][..]));
            assert_eq!(pickle.byte_array(pickle.get("floats").unwrap()), None, "of another type");
            assert_eq!(pickle.byte_array(pickle.get("columns").unwrap()), None, "column by column");
            assert_eq!(pickle.get("absent"), None);
        }
    }

    #[test]
    fn an_array_as_python_2_wrote_it_is_read() {
        let head = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05U\x01b\x87Rq\x06";
        let state = b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87Rq\x08(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\x09tbu.";
        let bytes = [&head[..], state].concat();
        let pickle = Pickle::read(&bytes).unwrap();
        let (shape, values) = pickle.byte_array(pickle.get("data").unwrap()).unwrap();
        assert_eq!((shape, &*values), (vec![1, 2], &[7, 9][..]));
    }

    #[test]
    fn names_stand_in_the_order_of_the_dictionaries() {
        // {"epoch": 3, "state_dict": OrderedDict([("b", tensor), ("a", tensor)])}, with an attribute of the ordered one
        let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storageU\x010tQK\x00tR";
        let ordered = b"U\x0astate_dictccollections\nOrderedDict\n)R(U\x01b";
        let bytes = [
            b"\x80\x02}(U\x05epochK\x03".as_slice(),
            ordered,
            tensor,
            b"U\x01a",
            tensor,
            b"u}U\x09_metadataNsbu.",
        ]
        .concat();
        let names = Pickle::read(&bytes).unwrap().names().unwrap();
        assert_eq!(names, ["epoch", "state_dict.b", "state_dict.a"]);
        // dictionaries that hold the one before them many times, a long way down and a short one
        for (many, dictionaries) in [(2, 30), (200, 10)] {
            let items = b"K\x00h\x00".repeat(many);
            let around = [b"}(".as_slice(), &items, b"uq\x00"].concat().repeat(dictionaries);
            let bytes = [b"}q\x00".as_slice(), &around, b"."].concat();
            assert_eq!(Pickle::read(&bytes).unwrap().names(), None);
        }
    }

    #[test]
    fn what_no_such_pickle_has_is_refused_and_nothing_is_run() {
        let refusal = |bytes: &[u8]| Pickle::read(bytes).unwrap_err();
        assert_eq!(refusal(b"\x80\x02}"), "an early end");
        assert_eq!(refusal(b"\x80\x02X\xff\xff\xff\x7fab"), "an early end");
        assert_eq!(refusal(b"\x80\x02a."), "an operation without its operands");
        assert_eq!(refusal(b"\x80\x02h\x05."), "something that was not remembered");
        assert_eq!(refusal(b"ios\nsystem\n."), "operation 0x69, which no pickle of arrays and lists has");
        let call = Pickle::read(b"cos\nsystem\nU\x02ls\x85R.").unwrap();
        assert!(matches!(call.root, Value::Part(_)));
        // a million tuples one in the other
        let deep = [vec![b')'], vec![0x85; 1_000_000], vec![b'.']].concat();
        assert!(Pickle::read(&deep).is_ok());
        assert_eq!(refusal(&vec![b'N'; 4_000_001]), "more than 4000000 operations");
    }
}

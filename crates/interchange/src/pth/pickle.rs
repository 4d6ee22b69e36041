//! Pickles of protocol 2, as far as `torch.load(weights_only=True)` takes them.

use super::{Dtype, Tensor, Value};

/// Opcodes, by the names that Python's `pickletools` has for them.
mod op {
    pub(super) const PROTO_2: &[u8] = b"\x80\x02";
    pub(super) const STOP: u8 = b'.';
    pub(super) const MARK: u8 = b'(';
    pub(super) const NONE: u8 = b'N';
    pub(super) const TRUE: u8 = 0x88;
    pub(super) const FALSE: u8 = 0x89;
    pub(super) const BININT: u8 = b'J';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const BINPERSID: u8 = b'Q';
}

/// The pickle of a value; its tensors are moved to `tensors`, in the order of the numbers that it calls them by.
pub(super) fn of<'a>(value: Value<'a>, tensors: &mut Vec<Tensor<'a>>) -> Vec<u8> {
    let mut pickle = Pickle { bytes: op::PROTO_2.to_vec(), tensors };
    pickle.value(value);
    pickle.bytes.push(op::STOP);
    pickle.bytes
}

struct Pickle<'t, 'a> {
    bytes: Vec<u8>,
    tensors: &'t mut Vec<Tensor<'a>>,
}

impl<'a> Pickle<'_, 'a> {
    fn value(&mut self, value: Value<'a>) {
        match value {
            Value::None => self.bytes.push(op::NONE),
            Value::Bool(is) => self.bool(is),
            Value::Int(number) => self.int(number),
            Value::Float(number) => {
                self.bytes.push(op::BINFLOAT);
                self.bytes.extend(number.to_be_bytes());
            }
            Value::Text(text) => self.text(&text),
            Value::List(items) => {
                self.bytes.extend([op::EMPTY_LIST, op::MARK]);
                items.into_iter().for_each(|item| self.value(item));
                self.bytes.push(op::APPENDS);
            }
            Value::Dict(members) => {
                self.bytes.push(op::EMPTY_DICT);
                self.members(members);
            }
            Value::StateDict { members, version } => {
                self.ordered_dict();
                self.members(members);
                let dict = |key: &str, value| Value::Dict(vec![(key.to_owned(), value)]);
                self.value(dict("_metadata", dict("", dict("version", Value::Int(version)))));
                self.bytes.push(op::BUILD);
            }
            Value::Tensor(tensor) => self.tensor(tensor),
        }
    }

    fn members(&mut self, members: Vec<(String, Value<'a>)>) {
        self.bytes.push(op::MARK);
        for (key, member) in members {
            self.text(&key);
            self.value(member);
        }
        self.bytes.push(op::SETITEMS);
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.bytes.extend([op::EMPTY_TUPLE, op::REDUCE]);
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
    fn tensor(&mut self, tensor: Tensor<'a>) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.push(op::MARK);
        self.storage(&tensor);
        self.int(0);
        self.sizes(&tensor.shape);
        self.sizes(&strides(&tensor.shape));
        self.bool(false);
        self.ordered_dict();
        self.bytes.extend([op::TUPLE, op::REDUCE]);
        self.tensors.push(tensor);
    }

    /// `("storage", torch.FloatStorage, "0", "cpu", numbers)` as a persistent identifier.
    fn storage(&mut self, tensor: &Tensor<'_>) {
        self.bytes.push(op::MARK);
        self.text("storage");
        self.global("torch", storage_type(tensor.dtype));
        self.text(&self.tensors.len().to_string());
        self.text("cpu");
        self.int(tensor.shape.iter().product::<usize>() as i64);
        self.bytes.extend([op::TUPLE, op::BINPERSID]);
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.bytes.push(op::MARK);
        sizes.iter().for_each(|size| self.int(*size as i64));
        self.bytes.push(op::TUPLE);
    }

    fn bool(&mut self, is: bool) {
        self.bytes.push(if is { op::TRUE } else { op::FALSE });
    }

    fn int(&mut self, number: i64) {
        if let Ok(number) = i32::try_from(number) {
            self.bytes.push(op::BININT);
            self.bytes.extend(number.to_le_bytes());
        } else {
            self.bytes.extend([op::LONG1, size_of::<i64>() as u8]);
            self.bytes.extend(number.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(op::BINUNICODE);
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.push(op::GLOBAL);
        self.bytes.extend(format!("{module}\n{name}\n").into_bytes());
    }
}

fn storage_type(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "FloatStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::I64 => "LongStorage",
        Dtype::U8 => "ByteStorage",
        Dtype::Bool => "BoolStorage",
    }
}

/// How far apart neighbors of each dimension lie, the last dimension fastest.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pickle_is_that_which_python_takes_apart() {
        // python3 -c "import pickle; print(pickle.loads(BYTES))" prints {'a': [None, True, -1, 1099511627776, 0.5]}
        let values = [Value::None, Value::Bool(true), Value::Int(-1), Value::Int(1 << 40), Value::Float(0.5)];
        let value = Value::Dict(vec![("a".to_owned(), Value::List(values.into()))]);
        let expected = b"\x80\x02}(X\x01\0\0\0a](N\x88J\xff\xff\xff\xff\x8a\x08\0\0\0\0\0\x01\0\0G\x3f\xe0\0\0\0\0\0\0eu.";
        assert_eq!(of(value, &mut Vec::new()), expected);
        // prints OrderedDict([('a', None)]), and {'_metadata': {'': {'version': 2}}} of its __dict__
        let value = Value::StateDict { members: vec![("a".to_owned(), Value::None)], version: 2 };
        let expected = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0aNu}(X\x09\0\0\0_metadata}(X\0\0\0\0}(X\x07\0\0\0versionJ\x02\0\0\0uuub.";
        assert_eq!(of(value, &mut Vec::new()), expected);
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [0; 0]);
    }
}

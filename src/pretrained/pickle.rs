//! Python's pickle format, read as data: nothing that a file names is ever called.
//!
//! A pickle is a program for a small stack machine (Python's `pickletools.py` documents every
//! instruction). Of what it could call, only what rebuilds tensors and ordered dictionaries has a
//! meaning here; everything else becomes [`Value::Opaque`].

use std::{collections::HashMap, rc::Rc};

/// Values inside values at most: a limit on what hostile files can build.
const MAX_DEPTH: u32 = 64;
/// Values that all copies of containers may add up to.
const MAX_COPIES: usize = 4_000_000;

/// A pickled value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Sequence(Rc<Sequence>),
    Map(Rc<Map>),
    /// A class or function, `module.name`.
    Global(Rc<str>),
    /// What a file keeps outside of the pickle: of PyTorch, a tensor's memory.
    Persistent(Rc<Value>, u32),
    Tensor(Rc<Tensor>),
    /// Something that has no meaning here: the name of what would have made it.
    Opaque(Rc<str>),
}

/// A tuple, list or set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sequence {
    pub(super) items: Vec<Value>,
    depth: u32,
}

/// A dictionary, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map {
    pub(super) entries: Vec<(Value, Value)>,
    depth: u32,
}

/// The arguments of `torch._utils._rebuild_tensor_v2`, as far as they matter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// Class of the memory that it lies in, such as `torch.FloatStorage`.
    pub(super) storage: Rc<str>,
    /// Which memory of the file.
    pub(super) key: Rc<str>,
    /// Position of the first value in it.
    pub(super) offset: i64,
    pub(super) shape: Vec<i64>,
    pub(super) stride: Vec<i64>,
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Sequence(sequence) => Some(&sequence.items),
            _ => None,
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::Sequence(sequence) => sequence.depth,
            Self::Map(map) => map.depth,
            Self::Persistent(_, depth) => *depth,
            _ => 0,
        }
    }
}

/// Reads one pickle from the beginning of `bytes`: its value, and how long it is.
///
/// # Errors
/// When it ends early, has an unknown instruction, or builds something absurd.
pub(super) fn read(bytes: &[u8]) -> Result<(Value, usize), String> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), copied: 0 };
    while !machine.step()? {}
    let value = machine.pop()?;
    Ok((value, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    copied: usize,
}

impl<'a> Machine<'a> {
    /// One instruction; whether it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let at = self.at;
        let [code] = self.array()?;
        match code {
            b'.' => return Ok(true),
            // Protocol version, frames: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let value = self.top()?.clone();
                self.stack.push(value);
            }
            _ if self.constant(code)? || self.memory(code)? || self.container(code)? || self.call(code)? => {}
            _ => return Err(format!("unknown instruction {code:#04x} at byte {at}")),
        }
        Ok(false)
    }

    fn constant(&mut self, code: u8) -> Result<bool, String> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.array::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'I' | b'L' => {
                let line = self.line()?.trim_end_matches('L').to_owned();
                line.parse().map_or(Value::Opaque("int".into()), Value::Int)
            }
            0x8a => {
                let length = self.array::<1>()?[0].into();
                self.long(length)?
            }
            0x8b => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                self.long(length)?
            }
            // Floats stand beside weights (losses, learning rates), never in them.
            b'F' => {
                self.line()?;
                Value::Opaque("float".into())
            }
            b'G' => {
                self.take(8)?;
                Value::Opaque("float".into())
            }
            b'X' | b'T' | b'B' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                self.text(length)?
            }
            0x8c | b'U' | b'C' => {
                let length = self.array::<1>()?[0].into();
                self.text(length)?
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(length).unwrap_or(usize::MAX))?
            }
            b'S' | b'V' => {
                let line = self.line()?;
                Value::Text(line.trim_matches(['\'', '"']).into())
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// What is remembered and recalled.
    fn memory(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'q' => {
                let key = self.array::<1>()?[0].into();
                self.remember(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            b'p' => {
                let key = self.line()?.parse().map_err(|_| "a damaged memory index".to_owned())?;
                self.remember(key)?;
            }
            0x94 => {
                let key = self.memo.len() as u32;
                self.remember(key)?;
            }
            b'h' => {
                let key = self.array::<1>()?[0].into();
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "a damaged memory index".to_owned())?;
                self.recall(key)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn container(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b')' | b']' | 0x8f => self.push_sequence(Vec::new())?,
            b'}' => self.stack.push(Value::Map(Rc::default())),
            b't' | b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push_sequence(items)?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let items = self.pop_many(count)?;
                self.push_sequence(items)?;
            }
            b'd' => {
                let items = self.since_mark()?;
                self.stack.push(Value::Map(Rc::default()));
                self.set_items(items)?;
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.append(items)?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(items)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What Python would call or fetch.
    fn call(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?);
                let global = format!("{module}.{name}");
                self.stack.push(Value::Global(global.into()));
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let [Some(module), Some(name)] = [names[0].text(), names[1].text()] else {
                    return Err("a class without a name".into());
                };
                self.stack.push(Value::Global(format!("{module}.{name}").into()));
            }
            b'Q' => {
                let id = self.pop()?;
                let depth = deeper(id.depth())?;
                self.stack.push(Value::Persistent(Rc::new(id), depth));
            }
            b'R' | 0x81 => {
                let operands = self.pop_many(2)?;
                let result = called(&operands[0], &operands[1])?;
                self.stack.push(result);
            }
            0x92 => {
                let operands = self.pop_many(3)?;
                let result = called(&operands[0], &operands[1])?;
                self.stack.push(result);
            }
            // The state of an object: an ordered dictionary's attributes, an unknown object's contents.
            b'b' => drop(self.pop_many(1)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let part = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or_else(|| format!("it ends early, at byte {}", self.bytes.len()))?;
        self.at += count;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("it ends in the middle of a line")?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| "a line that is no text".into())
    }

    fn text(&mut self, length: usize) -> Result<Value, String> {
        Ok(Value::Text(String::from_utf8_lossy(self.take(length)?).into()))
    }

    /// An integer of any length; those that need more than 64 bits mean nothing here.
    fn long(&mut self, length: usize) -> Result<Value, String> {
        let bytes = self.take(length)?;
        let sign = bytes.last().map_or(0, |last| if last & 0x80 == 0 { 0 } else { 0xff });
        let mut padded = [sign; 8];
        match padded.get_mut(..length) {
            Some(start) => start.copy_from_slice(bytes),
            None => return Ok(Value::Opaque("int".into())),
        }
        Ok(Value::Int(i64::from_le_bytes(padded)))
    }

    fn top(&self) -> Result<&Value, String> {
        self.stack.last().ok_or_else(|| "nothing on the stack".into())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "nothing on the stack".into())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let from = self.stack.len().checked_sub(count).ok_or("too little on the stack")?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("a mark is missing")?))
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let value = self.memo.get(&key).cloned().ok_or_else(|| format!("nothing is remembered as {key}"))?;
        self.stack.push(value);
        Ok(())
    }

    fn push_sequence(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = deeper(deepest(&items))?;
        self.stack.push(Value::Sequence(Rc::new(Sequence { items, depth })));
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = deeper(deepest(&items))?;
        match self.stack.last_mut() {
            Some(Value::Sequence(sequence)) => {
                count_copy(&mut self.copied, sequence, sequence.items.len())?;
                let sequence = Rc::make_mut(sequence);
                sequence.items.extend(items);
                sequence.depth = sequence.depth.max(depth);
                Ok(())
            }
            Some(Value::Opaque(_)) => Ok(()),
            _ => Err("an item for something that is no list".into()),
        }
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = deeper(deepest(&items))?;
        match self.stack.last_mut() {
            Some(Value::Map(map)) => {
                count_copy(&mut self.copied, map, map.entries.len())?;
                let map = Rc::make_mut(map);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    map.entries.push((key, value));
                }
                map.depth = map.depth.max(depth);
                Ok(())
            }
            Some(Value::Opaque(_)) => Ok(()),
            _ => Err("an entry for something that is no dictionary".into()),
        }
    }
}

fn deepest(items: &[Value]) -> u32 {
    items.iter().map(Value::depth).max().unwrap_or(0)
}

fn deeper(depth: u32) -> Result<u32, String> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(format!("more than {MAX_DEPTH} values inside each other")) }
}

/// A container that is remembered elsewhere is copied before it changes.
fn count_copy<T>(copied: &mut usize, container: &Rc<T>, length: usize) -> Result<(), String> {
    *copied += if Rc::strong_count(container) > 1 { length } else { 0 };
    if *copied > MAX_COPIES { Err("it copies too much".into()) } else { Ok(()) }
}

/// What Python's call would give, where that is a tensor or a container.
fn called(function: &Value, arguments: &Value) -> Result<Value, String> {
    let Value::Global(name) = function else { return Ok(Value::Opaque("a call".into())) };
    let Some(arguments) = arguments.items() else { return Err(format!("{name} without arguments")) };
    let wrong = || format!("{name} with other arguments than PyTorch gives it");
    match (&**name, arguments) {
        ("collections.OrderedDict", _) => Ok(Value::Map(Rc::default())),
        ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2", [storage, offset, shape, stride, ..]) => {
            let Value::Persistent(storage, _) = storage else { return Err(wrong()) };
            let numbers = |value: &Value| value.items()?.iter().map(Value::int).collect::<Option<Vec<i64>>>();
            // ('storage', class, key, device, number of values)
            let [_, Value::Global(class), Value::Text(key), ..] = storage.items().unwrap_or_default() else {
                return Err(wrong());
            };
            let tensor = || {
                Some(Tensor {
                    storage: class.clone(),
                    key: key.clone(),
                    offset: offset.int()?,
                    shape: numbers(shape)?,
                    stride: numbers(stride)?,
                })
            };
            tensor().map(|tensor| Value::Tensor(Rc::new(tensor))).ok_or_else(wrong)
        }
        ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [tensor, ..]) => {
            Ok(tensor.clone())
        }
        // A tensor of another class: (function, class, its arguments, state).
        ("torch._tensor._rebuild_from_type_v2", [inner, _, arguments, ..]) if *inner != *function => {
            called(inner, arguments)
        }
        ("torch.Size", [shape]) => Ok(shape.clone()),
        _ => Ok(Value::Opaque(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_nothing_is_called() {
        // python: pickle.dumps({"a": [1, -2, 70000, None, True], "b": (3,)}, 2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00N\x88eX\x01\x00\x00\x00bq\x03K\x03\x85q\x04u.";
        let (value, length) = read(bytes).unwrap();
        assert_eq!(length, bytes.len());
        let Value::Map(map) = value else { panic!("{value:?}") };
        let items = map.entries[0].1.items().unwrap();
        let expected = [Value::Int(1), Value::Int(-2), Value::Int(70_000), Value::None, Value::Bool(true)];
        assert_eq!((map.entries[0].0.text(), items), (Some("a"), &expected[..]));
        assert_eq!(map.entries[1].1.items(), Some(&[Value::Int(3)][..]));

        // python: os.system("touch /tmp/called"), as a hostile pickle spells it.
        let (value, _) = read(b"cos\nsystem\n(X\x11\x00\x00\x00touch /tmp/calledtR.").unwrap();
        assert_eq!(value, Value::Opaque("os.system".into()));
    }

    #[test]
    fn what_would_exhaust_memory_or_stack_is_refused() {
        let nested = [vec![b')'], vec![0x85; 1_000_000], vec![b'.']].concat();
        assert!(read(&nested).unwrap_err().contains("inside each other"));
        let persistent = [vec![b'N'], vec![b'Q'; 1_000_000], vec![b'.']].concat();
        assert!(read(&persistent).unwrap_err().contains("inside each other"));
        // A list that is remembered before each item.
        let copied = [vec![b']'], b"q\x00Na".repeat(10_000), vec![b'.']].concat();
        assert!(read(&copied).unwrap_err().contains("copies too much"));
        for bytes in
            [&b""[..], b"X\xff\xff\xff\xff", b"u.", b"R.", b"h\x07.", b"e.", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}

//! State dictionaries as `torch.save` writes them, of any version of PyTorch, read without running
//! what they contain.

use super::pickle::{self, Map, Tensor, Value};
use crate::weights::{Array, Weights, values_of};
use safetensors::Dtype;
use std::{
    collections::{BTreeMap, HashMap},
    io::{Cursor, Read},
    rc::Rc,
};

/// What a file of PyTorch before 1.6 begins with: a pickle of its magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
/// What a zip archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";
/// Under which keys trainings keep the weights, beside their counters and optimizers.
const NESTED: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "weights"];

/// Whether `bytes` are something that `torch.save` writes.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(LEGACY)
}

/// The tensors of a state dictionary, by name.
///
/// # Errors
/// When the file is damaged or holds something else.
pub(super) fn read(bytes: &[u8]) -> Result<Weights, String> {
    let (value, memory) = if bytes.starts_with(ZIP) { archive(bytes)? } else { legacy(bytes)? };
    let map = state_dictionary(&value)?;
    let mut tensors = BTreeMap::new();
    for (key, value) in &map.entries {
        if let (Some(name), Value::Tensor(tensor)) = (key.text(), value) {
            let array = array(tensor, &memory).map_err(|problem| format!("`{name}`: {problem}"))?;
            tensors.insert(name.to_owned(), array);
        }
    }
    Ok(tensors.into_iter().collect())
}

/// The bytes of each memory, by its key.
type Memory<'a> = HashMap<String, std::borrow::Cow<'a, [u8]>>;

/// The dictionary that holds tensors: the file's own value, or one a level below.
fn state_dictionary(value: &Value) -> Result<Rc<Map>, String> {
    let top = match value {
        Value::Map(map) => map,
        Value::Opaque(class) => {
            return Err(format!(
                "it holds a whole object of class {class}, which only Python can read; \
                 save its weights instead: torch.save(model.state_dict(), FILE)"
            ));
        }
        _ => return Err("it holds no state dictionary; write one with torch.save(model.state_dict(), FILE)".into()),
    };
    let has_tensors = |map: &Map| map.entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_)));
    if has_tensors(top) {
        return Ok(top.clone());
    }
    let at = |key: &str| top.entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value);
    let nested = NESTED.into_iter().filter_map(at).find_map(|value| match value {
        Value::Map(map) if has_tensors(map) => Some(map.clone()),
        _ => None,
    });
    nested.ok_or_else(|| {
        let keys: Vec<&str> = top.entries.iter().filter_map(|(key, _)| key.text()).take(8).collect();
        format!("it holds no tensors, neither itself nor under {}; its keys: {}", NESTED.join(", "), keys.join(", "))
    })
}

/// PyTorch 1.6 and later: a zip archive with one file for each memory.
fn archive(bytes: &[u8]) -> Result<(Value, Memory<'_>), String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("damaged archive: {error}"))?;
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
    let pickled = names.iter().find(|name| name.ends_with("/data.pkl")).ok_or_else(|| {
        "it is an archive without data.pkl: no file of torch.save (a TorchScript model has to be saved again \
         as a state dictionary)"
            .to_owned()
    })?;
    let folder = pickled.trim_end_matches("data.pkl");
    let mut content = |name: &str| -> Result<Vec<u8>, String> {
        let mut file = archive.by_name(name).map_err(|error| format!("damaged archive, {name}: {error}"))?;
        let mut content = Vec::new();
        // What is stored is not packed: it cannot be longer than the file.
        let limit = bytes.len() as u64 + 1;
        let length = file.by_ref().take(limit).read_to_end(&mut content);
        length.map_err(|error| format!("damaged archive, {name}: {error}"))?;
        Ok(content)
    };
    let order = format!("{folder}byteorder");
    if names.contains(&order) && content(&order)?.trim_ascii() == b"big" {
        return Err("it was written on a machine with the other byte order; save it again on a common one".into());
    }
    let (value, _) = pickle::read(&content(pickled)?)?;
    let data = format!("{folder}data/");
    let mut memory = Memory::new();
    for name in names.iter().filter(|name| name.starts_with(&data)) {
        memory.insert(name[data.len()..].to_owned(), content(name)?.into());
    }
    Ok((value, memory))
}

/// PyTorch before 1.6: magic number, version, machine, value and keys as pickles one after the other,
/// then for each key the number of its values and their bytes.
fn legacy(bytes: &[u8]) -> Result<(Value, Memory<'_>), String> {
    let mut rest = bytes;
    let mut next = || -> Result<Value, String> {
        let (value, length) = pickle::read(rest)?;
        rest = &rest[length..];
        Ok(value)
    };
    let [_, _, _, value, keys] = [next()?, next()?, next()?, next()?, next()?];
    let Value::Sequence(keys) = keys else { return Err("it has no list of keys".into()) };
    let mut classes = HashMap::new();
    collect_classes(&value, &mut classes);
    let mut memory = Memory::new();
    for key in keys.items.iter().filter_map(Value::text) {
        let Some((count, after)) = rest.split_first_chunk::<8>() else { return Err("it ends early".into()) };
        // Of memory that no tensor of the dictionary lies in, the size is not known.
        let class: &str = classes.get(key).ok_or_else(|| format!("nothing uses its memory {key}"))?;
        let dtype = dtype(class)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok();
        let length = length.and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        let part = length.and_then(|length| after.get(..length)).ok_or("it ends early")?;
        memory.insert(key.to_owned(), part.into());
        rest = &after[part.len()..];
    }
    Ok((value, memory))
}

/// The class of each memory that a tensor lies in.
fn collect_classes(value: &Value, classes: &mut HashMap<String, Rc<str>>) {
    match value {
        Value::Tensor(tensor) => {
            classes.insert(tensor.key.to_string(), tensor.storage.clone());
        }
        Value::Map(map) => map.entries.iter().for_each(|(_, value)| collect_classes(value, classes)),
        Value::Sequence(sequence) => sequence.items.iter().for_each(|value| collect_classes(value, classes)),
        _ => {}
    }
}

fn dtype(storage: &str) -> Result<Dtype, String> {
    let class = storage.rsplit('.').next().unwrap_or_default();
    Ok(match class {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return Err(format!("its values are of a kind that nasgen does not read ({storage})")),
    })
}

fn array(tensor: &Tensor, memory: &Memory<'_>) -> Result<Array, String> {
    let bytes = memory.get(&*tensor.key).ok_or_else(|| format!("the file lacks its memory {}", tensor.key))?;
    let dtype = dtype(&tensor.storage)?;
    let size = |number: &i64| usize::try_from(*number).ok();
    let layout = || {
        let shape = tensor.shape.iter().map(size).collect::<Option<Vec<usize>>>()?;
        let stride = tensor.stride.iter().map(size).collect::<Option<Vec<usize>>>()?;
        let count = shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side))?;
        let steps = shape.iter().zip(&stride).map(|(side, stride)| side.saturating_sub(1).checked_mul(*stride));
        let last = steps.into_iter().try_fold(size(&tensor.offset)?, |sum, step| sum.checked_add(step?))?;
        let stored = bytes.len() / (dtype.bitsize() / 8);
        let fits = shape.len() == stride.len() && count <= stored && (last < stored || count == 0);
        fits.then_some((shape, stride, count))
    };
    let (shape, stride, count) = layout().ok_or_else(|| {
        format!("shape {:?}, strides {:?} from {} do not fit its memory", tensor.shape, tensor.stride, tensor.offset)
    })?;
    let stored = values_of(dtype, bytes).ok_or_else(|| format!("its type {dtype:?} is not read"))?;
    let place = |index: usize| {
        let mut rest = index;
        let mut place = tensor.offset as usize;
        for (side, stride) in shape.iter().zip(&stride).rev() {
            place += rest % side * stride;
            rest /= side;
        }
        place
    };
    let values = (0..count).map(|index| stored[place(index)]).collect();
    Ok(Array { shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::randomness::Stream;
    use std::path::Path;

    fn file(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pretrained");
        std::fs::read(folder.join(name).with_extension("pth")).unwrap()
    }

    #[test]
    fn every_way_of_saving_gives_the_same_tensors() {
        let expected: [(&str, &[usize], &[f32]); 8] = [
            ("a.transposed", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            ("a.weight", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ("b.bfloat", &[2], &[0.5, -2.0]),
            ("b.double", &[1], &[0.1]),
            ("b.half", &[2], &[0.5, -2.0]),
            ("b.num_batches_tracked", &[], &[77.0]),
            ("b.part", &[3], &[4.0, 5.0, 6.0]),
            ("c.parameter", &[1, 2], &[1.0, 1.0]),
        ];
        for name in ["zip", "legacy", "nested", "protocol4"] {
            let tensors = read(&file(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let tensors: Vec<_> =
                tensors.iter().map(|(name, array)| (name, &array.shape[..], &array.values[..])).collect();
            assert_eq!(tensors, expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_state_dictionary_is_told_how_to_become_one() {
        let problem = |name: &str| read(&file(name)).unwrap_err();
        assert!(problem("no_tensors").contains("its keys: epoch, arch"), "{}", problem("no_tensors"));
        let whole = problem("whole_model");
        assert!(whole.contains("Sequential") && whole.contains("torch.save(model.state_dict(), FILE)"), "{whole}");
    }

    /// Damaged files of any kind give an error or other values, and never a panic.
    #[test]
    fn damaged_files_do_no_harm() {
        let stream = Stream::new(0, "damage");
        let mut draws = (0..).map(|index| stream.words([index, 0, 0, 0]));
        for name in ["zip", "legacy", "protocol4", "whole_model"] {
            let whole = file(name);
            let mut survived = 0;
            for _ in 0..3000 {
                let [kind, place, value, more] = draws.next().unwrap();
                let (place, mut bytes) = (place as usize % whole.len(), whole.clone());
                match kind % 4 {
                    0 => bytes.truncate(place),
                    1 => bytes[place] = value as u8,
                    2 => drop(bytes.splice(place..(place + more as usize % 9).min(whole.len()), value.to_le_bytes())),
                    _ => bytes.swap(place, value as usize % whole.len()),
                }
                survived += usize::from(read(&bytes).is_ok());
            }
            // Else the damage would not have reached the pickle.
            assert!(survived < 3000, "{name}");
        }
    }
}

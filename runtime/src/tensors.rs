//! Named tensors in safetensors files, read with checks and written atomically.

use safetensors::tensor::{
    Dtype, SafeTensorError, SafeTensors, TensorView, View, serialize, serialize_to_file,
};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

/// A tensor as files have it: row-major, with PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl FileTensor {
    pub fn f32(shape: &[usize], data: Vec<f32>) -> FileTensor {
        FileTensor {
            shape: shape.to_vec(),
            data: Data::F32(data),
        }
    }

    /// The elements, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    pub fn i64(shape: &[usize], data: Vec<i64>) -> FileTensor {
        FileTensor {
            shape: shape.to_vec(),
            data: Data::I64(data),
        }
    }
}

/// Tensors by name, in the order of their names.
pub type Tensors = BTreeMap<String, FileTensor>;

/// Reads a safetensors file of f32, f64, f16, bf16 and integer tensors; floats become f32, integers i64.
///
/// # Errors
/// When the file is missing, is not safetensors, is truncated, or holds another element type.
pub fn read(path: &Path) -> Result<Tensors, Diagnostic> {
    read_with_notes(path).map(|(tensors, _)| tensors)
}

/// What a file says beside its tensors.
pub type Notes = BTreeMap<String, String>;

/// [`read`], with the file's metadata.
///
/// # Errors
/// As [`read`].
pub fn read_with_notes(path: &Path) -> Result<(Tensors, Notes), Diagnostic> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| cannot_read(path, &error))?;
    let broken = |why: String| {
        Diagnostic::new(
            codes::E0652,
            format!("the file '{shown}' is not a whole safetensors file: {why}"),
        )
        .help("write it again; a file that was cut off in copying looks like this")
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(describe(&e)))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let data = decode(&view).ok_or_else(|| {
            Diagnostic::new(
                codes::E0653,
                format!(
                    "the tensor '{name}' of '{shown}' has elements of type {:?}",
                    view.dtype()
                ),
            )
            .help("tensors are f32, f64, f16 or bf16, and labels are integers")
        })?;
        tensors.insert(
            name,
            FileTensor {
                shape: view.shape().to_vec(),
                data,
            },
        );
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(describe(&e)))?;
    let notes = header.metadata().iter().flatten();
    let notes = notes.map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, notes))
}

fn describe(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => "it is shorter than a header".to_owned(),
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            "its header is longer than the file".to_owned()
        }
        other => other.to_string(),
    }
}

/// The diagnostic of a file that could not be read.
pub fn cannot_read(path: &Path, error: &std::io::Error) -> Diagnostic {
    let shown = path.display();
    if error.kind() != ErrorKind::NotFound {
        return Diagnostic::new(
            codes::E0651,
            format!("the file '{shown}' cannot be read: {error}"),
        )
        .help("check that it is a file and that you may read it");
    }
    let missing = Diagnostic::new(codes::E0650, format!("the file '{shown}' does not exist"));
    match near_file(path) {
        Some(near) => missing.help(format!("did you mean '{near}'?")),
        None => missing.help("check the path; it is relative to the current folder"),
    }
}

/// The name of a file beside a missing one, if it is near enough to be meant.
pub fn near_file(path: &Path) -> Option<String> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let name = path.file_name()?.to_str()?;
    let mut names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}

fn decode(view: &TensorView) -> Option<Data> {
    fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => Data::F32(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Data::F32(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::BF16 => Data::F32(each(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
        Dtype::F16 => Data::F32(each(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
        Dtype::I64 => Data::I64(each(bytes, i64::from_le_bytes)),
        Dtype::I32 => Data::I64(each(bytes, |b| i32::from_le_bytes(b).into())),
        Dtype::U8 => Data::I64(bytes.iter().map(|b| i64::from(*b)).collect()),
        _ => return None,
    })
}

impl View for &FileTensor {
    fn dtype(&self) -> Dtype {
        match self.data {
            Data::F32(_) => Dtype::F32,
            Data::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes())
    }

    fn data_len(&self) -> usize {
        match &self.data {
            Data::F32(v) => size_of_val(v.as_slice()),
            Data::I64(v) => size_of_val(v.as_slice()),
        }
    }
}

/// Writes tensors so that the file is either the old one or the whole new one: written aside, synced, renamed.
///
/// # Errors
/// When the folder cannot be written or the disk is full.
pub fn write(path: &Path, tensors: &Tensors) -> Result<(), Diagnostic> {
    write_described(path, tensors, &BTreeMap::new())
}

/// [`write`], with metadata in the file's header, in the order of the keys.
///
/// # Errors
/// As [`write`].
pub fn write_described(
    path: &Path,
    tensors: &Tensors,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Diagnostic> {
    let told = |error| match error {
        SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other.to_string()),
    };
    put(path, |aside| {
        // The crate writes several entries in the order of a hash.
        if metadata.len() > 1 {
            let file = serialize(tensors, None).map_err(told)?;
            return fs::write(aside, describe_file(&file, metadata)?);
        }
        let metadata = metadata.clone().into_iter().collect::<HashMap<_, _>>();
        let metadata = (!metadata.is_empty()).then_some(metadata);
        serialize_to_file(tensors, metadata, aside).map_err(told)
    })
}

/// The file, which has no metadata, with metadata in its header.
fn describe_file(
    file: &[u8],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    let header = file
        .first_chunk::<8>()
        .and_then(|n| file.get(8..8 + usize::try_from(u64::from_le_bytes(*n)).ok()?));
    let header = header.unwrap_or_default();
    let tensors = header.strip_prefix(b"{").unwrap_or(header).trim_ascii_end();
    let mut described = b"{\"__metadata__\":".to_vec();
    described.extend(serde_json::to_vec(metadata)?);
    if tensors != b"}" {
        described.push(b',');
    }
    described.extend(tensors);
    // The data begin at a multiple of 8.
    described.resize(described.len().next_multiple_of(8), b' ');
    let mut whole = (described.len() as u64).to_le_bytes().to_vec();
    whole.extend(described);
    whole.extend(&file[8 + header.len()..]);
    Ok(whole)
}

/// Writes bytes aside, syncs them and renames the file into place.
///
/// # Errors
/// When the folder cannot be written or the disk is full; the old file, if any, is untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    put(path, |aside| fs::write(aside, bytes))
}

/// What the names of files that are being written end with.
pub const ASIDE: &str = ".tmp";

/// Lets a file be made aside, syncs it, renames it into place and syncs the folder.
///
/// # Errors
/// When the folder cannot be written or the disk is full; the old file, if any, is untouched.
pub fn put(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Diagnostic> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}{ASIDE}", std::process::id()));
    let aside = path.with_file_name(name);
    let written = make(&aside)
        .and_then(|()| File::options().write(true).open(&aside)?.sync_all())
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| sync_folder(path));
    written.map_err(|error| {
        // The aside file may not exist; what matters is the error that is reported.
        let _ = fs::remove_file(&aside);
        cannot_write(path, &error.to_string())
    })
}

/// Makes the names in a file's folder last.
#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        // Some file systems keep no folders to sync.
        Err(e) if e.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The diagnostic of a file that could not be written.
pub fn cannot_write(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0654,
        format!("'{}' cannot be written: {why}", path.display()),
    )
    .help("check that the folder exists, that you may write there, and that the disk is not full")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = Tensors::from([
            ("x".to_owned(), FileTensor::f32(&[2, 1], vec![1.5, -0.0])),
            ("labels".to_owned(), FileTensor::i64(&[2], vec![3, 7])),
            ("loss".to_owned(), FileTensor::f32(&[], vec![f32::INFINITY])),
        ]);
        write(&path, &tensors).unwrap();
        assert_eq!(read(&path).unwrap(), tensors);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn metadata_stand_in_the_header_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let about = BTreeMap::from(["b", "a"].map(|k| (k.to_owned(), format!("{k} \"é\""))));
        for tensors in [
            Tensors::new(),
            Tensors::from([("x".to_owned(), FileTensor::f32(&[1], vec![1.5]))]),
        ] {
            write_described(&path, &tensors, &about).unwrap();
            assert_eq!(read(&path).unwrap(), tensors);
            let bytes = fs::read(&path).unwrap();
            let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
            let found: BTreeMap<String, String> =
                header.metadata().clone().unwrap().into_iter().collect();
            assert_eq!(found, about);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(text.find("\"a\"").unwrap() < text.find("\"b\"").unwrap());
        }
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = Tensors::from([("x".to_owned(), FileTensor::f32(&[4], vec![1.0; 4]))]);
        write(&path, &tensors).unwrap();
        let bytes = fs::read(&path).unwrap();
        for len in [0, 4, 20, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).unwrap();
            assert_eq!(read(&path).unwrap_err().code, codes::E0652, "{len} bytes");
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/a.safetensors");
        let error = write(&path, &Tensors::new()).unwrap_err();
        assert_eq!(error.code, codes::E0654);
        assert!(error.message.contains("none/a.safetensors"));
    }
}

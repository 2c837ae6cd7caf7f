//! Named tensors in safetensors files, read with checks and written atomically.

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
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
    Ok(tensors)
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

/// Writes tensors so that the file is either the old one or the whole new one: written aside, synced, renamed.
///
/// # Errors
/// When the folder cannot be written or the disk is full.
pub fn write(path: &Path, tensors: &Tensors) -> Result<(), Diagnostic> {
    let bytes: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let (dtype, bytes) = match &tensor.data {
                Data::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Data::I64(v) => (Dtype::I64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            };
            (name.clone(), dtype, tensor.shape.clone(), bytes)
        })
        .collect();
    let fail = |why: String| cannot_write(path, &why);
    let mut views = Vec::with_capacity(bytes.len());
    for (name, dtype, shape, data) in &bytes {
        let view = TensorView::new(*dtype, shape.clone(), data).map_err(|e| fail(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let text = safetensors::serialize(views, None).map_err(|e| fail(e.to_string()))?;
    write_atomically(path, &text)
}

/// Writes bytes aside, syncs them and renames the file into place.
///
/// # Errors
/// When the folder cannot be written or the disk is full; the old file, if any, is untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = path.with_file_name(name);
    let written = File::create(&aside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&aside, path));
    written.map_err(|error| {
        // The aside file may not exist; what matters is the error that is reported.
        let _ = fs::remove_file(&aside);
        cannot_write(path, &error.to_string())
    })
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

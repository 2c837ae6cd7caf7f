//! The embedding as TensorBoard's Projector tab reads it: vectors and labels as tables, thumbnails as one picture, and a
//! file that names the three.

use super::FOLDER;
use crate::embedding_map::{StoredEmbedding, class_name};
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::{cannot_write, write_atomically};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Writes the projector's files into the run directory; `classes` are the names of the labels.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(
    run: &Path,
    embedding: &StoredEmbedding,
    classes: &[String],
    sprite: &[u8],
) -> Result<(), Diagnostic> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e.to_string()))?;
    let config = config(embedding.thumbnail);
    for (name, bytes) in [
        ("tensors.tsv", vectors(embedding).as_bytes()),
        ("metadata.tsv", labels(embedding, classes).as_bytes()),
        ("sprite.png", sprite),
        ("projector_config.pbtxt", config.as_bytes()),
    ] {
        write_atomically(&folder.join(name), bytes)?;
    }
    Ok(())
}

fn vectors(embedding: &StoredEmbedding) -> String {
    let mut text = String::new();
    for row in embedding.features.chunks(embedding.dim.max(1)) {
        for (i, v) in row.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{v}", if i == 0 { "" } else { "\t" });
        }
        text.push('\n');
    }
    text
}

/// A table of several columns has a line of titles.
fn labels(embedding: &StoredEmbedding, classes: &[String]) -> String {
    let mut text = String::from("label\timage\n");
    for (label, image) in embedding.labels.iter().zip(&embedding.images) {
        let name = label.map_or_else(|| "unknown".to_owned(), |l| class_name(classes, l));
        let plain = name.replace(['\t', '\n', '\r'], " ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{plain}\t{image}");
    }
    text
}

fn config((width, height): (usize, usize)) -> String {
    format!(
        r#"embeddings {{
  tensor_name: "encoder"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: [{width}, {height}]
  }}
}}
"#
    )
}

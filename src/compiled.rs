//! Compiled stages as text, for tests of one's own specs.

use crate::cli::{GraphFormat, Stage};
use crate::compile::{self, Failure};
use clap::ValueEnum;
use std::path::Path;

/// A spec with the text of all of its stages.
#[derive(Clone, Debug)]
pub struct Compiled {
    texts: Vec<(Stage, String)>,
}

impl Compiled {
    /// The text of a stage, as `sslc graph SPEC --emit STAGE` prints it.
    pub fn text(&self, stage: Stage) -> &str {
        let of = |(s, _): &&(Stage, String)| *s == stage;
        self.texts.iter().find(of).map_or("", |(_, text)| text)
    }
}

/// Compiles a spec to its kernels.
///
/// # Errors
/// All errors of the spec at once. Both `Display` and `Debug` of [`Failure`] draw them over the source, so a test that
/// returns one shows what a person would see.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), sslc::Failure> {
/// use sslc::Stage;
///
/// let compiled = sslc::compile("examples/simsiam.ssl")?;
/// assert!(compiled.text(Stage::Core).contains("stop_gradient"));
/// // In a test of your own: insta::assert_snapshot!(compiled.text(Stage::Kernels));
/// # Ok(())
/// # }
/// ```
pub fn compile(spec: impl AsRef<Path>) -> Result<Compiled, Failure> {
    compile_with(spec, &[])
}

/// [`compile`] with params and settings overridden, as by `--set name=value`.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    spec: impl AsRef<Path>,
    overrides: &[(&str, &str)],
) -> Result<Compiled, Failure> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let overrides: Vec<(String, String)> = overrides.iter().map(owned).collect();
    let compilation = compile::compile(spec.as_ref(), &overrides)?;
    let text = |stage: &Stage| Ok((*stage, compilation.emit(*stage, GraphFormat::Text)?));
    let texts = Stage::value_variants().iter().map(text);
    Ok(Compiled {
        texts: texts.collect::<Result<_, Failure>>()?,
    })
}

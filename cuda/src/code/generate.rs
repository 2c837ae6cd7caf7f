//! From a kernel program to its code.

use super::contract::contraction;
use super::draft::{Draft, Drafts, NAME};
use super::group::groups;
use super::indexed::indexed_kernel;
use super::library::{ByLibrary, Library, Part};
use super::loops::loop_kernel;
use super::{Alternative, Code, Function, Launch, PRELUDE, Step};
use sslc_compiler::kernels::ir::{KernelKind, KernelProgram};
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;

/// Blocks that a grid may have along each of its sizes.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

/// A kernel that is larger than a grid of blocks may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its number.
    pub kernel: usize,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { kernel, name } = self;
        write!(
            f,
            "kernel {kernel} ({name}) is too large for a grid of CUDA"
        )
    }
}

impl Error for Unsupported {}

/// The code of every kernel of a program that the compiler's verifier passes.
///
/// # Errors
/// When a kernel needs more blocks than a grid may have.
pub fn generate(program: &KernelProgram) -> Result<Code, Unsupported> {
    generate_with(program, &|_| false)
}

/// The same with [`Code::alternatives`] by the libraries that are `there`.
///
/// # Errors
/// As [`generate`].
pub fn generate_with(
    program: &KernelProgram,
    there: &dyn Fn(Library) -> bool,
) -> Result<Code, Unsupported> {
    let mut code = Gathered::default();
    let mut by_library = ByLibrary::new(program, there);
    let groups = groups(program);
    let mut shared = groups.launches.into_iter().peekable();
    for (k, kernel) in program.kernels.iter().enumerate() {
        if let Some((_, draft)) = shared.next_if(|(first, _)| *first == k) {
            let launches = vec![draft];
            let drafts = Drafts {
                launches,
                scratch_words: 0,
            };
            code.add(k, &kernel.name, drafts)?;
        }
        if groups.grouped.contains(&k) {
            continue;
        }
        let buffers = &program.buffers;
        let (drafts, rest) = match &kernel.kind {
            KernelKind::Loop(body) => (loop_kernel(body, buffers), None),
            KernelKind::Indexed(form) => (indexed_kernel(form, buffers), None),
            KernelKind::Contraction(plain) => contraction(plain, None, None, buffers),
            KernelKind::Fused(fused) => contraction(
                &fused.contraction,
                fused.prologue.as_ref(),
                fused.epilogue.as_ref(),
                buffers,
            ),
        };
        code.add(k, &kernel.name, drafts)?;
        if let Some(epilogue) = rest {
            code.add(k, &kernel.name, loop_kernel(epilogue, buffers))?;
        }
        if let Some(parts) = by_library.parts(&kernel.kind) {
            code.add_alternative(k, &kernel.name, parts);
        }
    }
    Ok(code.code)
}

/// The code of one kernel.
#[cfg(test)]
pub fn of_kernel(parts: Vec<Drafts>) -> Code {
    let mut code = Gathered::default();
    for drafts in parts {
        let added = code.add(0, "test kernel", drafts);
        added.expect("a grid that CUDA has");
    }
    code.code
}

/// Code, with what tells equal functions.
#[derive(Default)]
struct Gathered {
    code: Code,
    /// Functions by their text and block.
    known: HashMap<(String, u32, u32), usize>,
    names: HashSet<String>,
}

impl Gathered {
    fn add(&mut self, kernel: usize, name: &str, drafts: Drafts) -> Result<(), Unsupported> {
        let launches = self.launches(kernel, name, drafts)?;
        self.code.launches.extend(launches);
        Ok(())
    }

    /// One that no grid is large enough for is left out.
    fn add_alternative(&mut self, kernel: usize, name: &str, parts: Vec<Part>) {
        let mut steps = Vec::new();
        for part in parts {
            match part {
                Part::Loop(what, drafts) => {
                    let name = format!("{what} {name}");
                    let Ok(launches) = self.launches(kernel, &name, drafts) else {
                        return;
                    };
                    steps.extend(launches.into_iter().map(Step::Launch));
                }
                Part::Call(call, scratch_words) => {
                    self.code.scratch_words = self.code.scratch_words.max(scratch_words);
                    steps.push(Step::Call(call));
                }
            }
        }
        self.code.alternatives.push(Alternative { kernel, steps });
    }

    fn launches(
        &mut self,
        kernel: usize,
        name: &str,
        drafts: Drafts,
    ) -> Result<Vec<Launch>, Unsupported> {
        self.code.scratch_words = self.code.scratch_words.max(drafts.scratch_words);
        let mut launches = Vec::with_capacity(drafts.launches.len());
        for draft in drafts.launches {
            let (arguments, grid) = (draft.arguments.clone(), draft.grid);
            if grid.iter().zip(MOST_BLOCKS).any(|(n, most)| *n > most) {
                let name = name.to_string();
                return Err(Unsupported { kernel, name });
            }
            let function = self.function(name, draft);
            launches.push(Launch {
                kernel,
                function,
                arguments,
                grid,
            });
        }
        Ok(launches)
    }

    /// The function of a draft's text: one that is there, or a new one named after the kernel.
    fn function(&mut self, kernel: &str, draft: Draft) -> usize {
        let key = (draft.source, draft.threads, draft.shared_bytes);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let base = c_name(kernel, draft.suffix);
        let mut name = base.clone();
        let mut copy = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{copy}");
            copy += 1;
        }
        let functions = &mut self.code.functions;
        functions.push(Function {
            source: key.0.replace(NAME, &name),
            name,
            threads: key.1,
            shared_bytes: key.2,
        });
        self.known.insert(key, functions.len() - 1);
        functions.len() - 1
    }
}

/// A kernel's name as one of C, which is none that C or the prelude knows.
fn c_name(kernel: &str, suffix: &str) -> String {
    let mut name = String::new();
    for c in kernel.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let mut name = name.trim_end_matches('_').to_string();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "kernel_");
    }
    name.push_str(suffix);
    // Words of C and of CUDA have no underscore inside, but for types.
    if !name.contains('_') || name.ends_with("_t") || PRELUDE.contains(&name) {
        name.push_str("_kernel");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::c_name;

    #[test]
    fn names_are_of_c_and_new_to_it() {
        assert_eq!(c_name("conv f.layer1.0.conv1", ""), "conv_f_layer1_0_conv1");
        assert_eq!(
            c_name("variance+mul+… f.bn1", "_merge"),
            "variance_mul_f_bn1_merge"
        );
        assert_eq!(c_name("sqrt", ""), "sqrt_kernel");
        assert_eq!(c_name("size_t", ""), "size_t_kernel");
        assert_eq!(c_name("across_warp", ""), "across_warp_kernel");
        assert_eq!(c_name("__shfl", ""), "shfl_kernel");
        assert_eq!(c_name("3 views", ""), "kernel_3_views");
        assert_eq!(c_name("é", ""), "kernel_");
    }
}

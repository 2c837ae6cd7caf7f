//! A device for tests in the same process: modules and launches without the driver's interface.
use crate::code::Kernel;
use crate::decode::decode;
use crate::exec::{Fault, Kind, Launch};
use crate::memory::{Memory, Operation};
use crate::ptx::parse::parse;
use crate::ptx::{Refusal, Space};
use std::collections::HashMap;

/// Bytes of shared memory that a block may have without asking, and with.
pub const SHARED_BYTES: u32 = 48 << 10;
pub const SHARED_BYTES_MOST: u32 = 163 << 10;
/// Instructions of warps that a launch may take, if nothing else is said.
pub const BUDGET: u64 = 20_000_000_000;

/// A module's kernels, and where its variables are.
#[derive(Debug)]
pub struct Module {
    pub kernels: Vec<Kernel>,
    /// Address and bytes of `.global` and `.const` variables.
    pub variables: HashMap<String, (u64, u64)>,
    pub text: String,
}

impl Module {
    /// Parses, puts the variables into memory, and decodes. `Err`: what is not supported, and where.
    pub fn load(memory: &mut Memory, text: &str) -> Result<Module, Refusal> {
        let tree = parse(text)?;
        let mut variables = HashMap::new();
        let mut addresses = HashMap::new();
        memory.begin(
            Operation {
                name: "loading a module".into(),
                ..Operation::default()
            },
            &[u64::MAX; 64],
        );
        for variable in tree
            .variables
            .iter()
            .filter(|v| matches!(v.space, Space::Global | Space::Const))
        {
            if variable.external {
                return Err(Refusal::new(
                    variable.line,
                    format!("`{}` is not defined here", variable.name),
                ));
            }
            let Some(address) = memory.allocate(variable.size as u64) else {
                return Err(Refusal::new(variable.line, "out of memory"));
            };
            let mut bytes = variable.initial.clone();
            bytes.resize(variable.size as usize, 0);
            memory
                .write(address, &bytes)
                .map_err(|message| Refusal::new(variable.line, message))?;
            variables.insert(variable.name.clone(), (address, variable.size as u64));
            addresses.insert(variable.name.clone(), address);
        }
        let kernels = decode(&tree, &addresses)?;
        Ok(Module {
            kernels,
            variables,
            text: text.to_string(),
        })
    }

    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }
}

/// What a kernel is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    Pointer(u64),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    /// A struct passed by value.
    Bytes(Vec<u8>),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Argument::Pointer(v) | Argument::U64(v) => v.to_le_bytes().to_vec(),
            Argument::U32(v) => v.to_le_bytes().to_vec(),
            Argument::I32(v) => v.to_le_bytes().to_vec(),
            Argument::F32(v) => v.to_le_bytes().to_vec(),
            Argument::Bytes(v) => v.clone(),
        }
    }
}

/// Checks the sizes of a launch as the driver does.
pub fn check_sizes(
    kernel: &Kernel,
    grid: [u32; 3],
    threads: [u32; 3],
    shared: u32,
    most_shared: u32,
) -> Result<(), String> {
    let grid_fits = grid[0] <= i32::MAX as u32 && grid[1] <= 65535 && grid[2] <= 65535;
    if grid.contains(&0) || !grid_fits {
        return Err(format!("a grid of {grid:?} blocks"));
    }
    let total = threads.iter().map(|&t| t as u64).product::<u64>();
    if threads.contains(&0)
        || total > 1024
        || threads[0] > 1024
        || threads[1] > 1024
        || threads[2] > 64
    {
        return Err(format!("a block of {threads:?} threads"));
    }
    if total > kernel.max_threads as u64 {
        return Err(format!(
            "a block of {total} threads, and `{}` says it has {} at most",
            kernel.name, kernel.max_threads
        ));
    }
    if shared as u64 + kernel.shared_declared as u64 > most_shared as u64 {
        return Err(format!(
            "{shared} bytes of dynamic and {} of static shared memory, of {most_shared}",
            kernel.shared_declared
        ));
    }
    Ok(())
}

/// A device with its memory. Everything happens at once and in order.
pub struct Device {
    pub memory: Memory,
    /// Instructions of warps that a launch may take before it counts as endless.
    pub budget: u64,
    /// Instructions of warps that all launches took.
    pub instructions: u64,
}

impl Default for Device {
    fn default() -> Self {
        Device {
            memory: Memory::new(4 << 30),
            budget: BUDGET,
            instructions: 0,
        }
    }
}

impl Device {
    /// `Err`: the line and what is not supported there.
    pub fn load(&mut self, ptx: &str) -> Result<Module, String> {
        Module::load(&mut self.memory, ptx).map_err(|r| format!("line {}: {}", r.line, r.message))
    }

    /// An allocation that holds these bytes.
    pub fn upload(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let address = self.empty(bytes.len())?;
        self.begin("an upload");
        self.memory.write(address, bytes)?;
        Ok(address)
    }

    /// An allocation that holds nothing yet.
    pub fn empty(&mut self, bytes: usize) -> Result<u64, String> {
        self.memory
            .allocate(bytes as u64)
            .ok_or_else(|| "out of memory".to_string())
    }

    pub fn download(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, String> {
        let mut found = vec![0; bytes];
        self.begin("a download");
        self.memory.read(address, &mut found)?;
        Ok(found)
    }

    pub fn upload_f32(&mut self, values: &[f32]) -> Result<u64, String> {
        self.upload(
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    pub fn download_f32(&mut self, address: u64, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.download(address, count * 4)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect())
    }

    fn begin(&mut self, name: &str) {
        self.memory.begin(
            Operation {
                name: name.to_string(),
                ..Operation::default()
            },
            &[u64::MAX],
        );
    }

    /// Runs a kernel to its end. `Err`: what a check found, with the kernel, the thread and the line.
    pub fn launch(
        &mut self,
        module: &Module,
        name: &str,
        grid: [u32; 3],
        threads: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) -> Result<(), String> {
        let kernel = module
            .kernel(name)
            .ok_or_else(|| format!("there is no kernel `{name}`"))?;
        check_sizes(kernel, grid, threads, shared, SHARED_BYTES_MOST)?;
        if arguments.len() != kernel.parameters.len() {
            return Err(format!(
                "`{name}` has {} parameters, not {}",
                kernel.parameters.len(),
                arguments.len()
            ));
        }
        let mut parameters = vec![0; kernel.parameter_bytes as usize];
        for (index, (parameter, argument)) in kernel.parameters.iter().zip(arguments).enumerate() {
            let bytes = argument.bytes();
            if bytes.len() != parameter.size as usize {
                return Err(format!(
                    "parameter {index} of `{name}` has {} bytes, not {}",
                    parameter.size,
                    bytes.len()
                ));
            }
            parameters[parameter.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        self.begin(name);
        let launch = Launch {
            kernel,
            text: &module.text,
            grid,
            threads,
            shared,
            parameters: &parameters,
            budget: self.budget,
        };
        match launch.run(&mut self.memory) {
            Ok(instructions) => {
                self.instructions += instructions;
                Ok(())
            }
            Err(Fault {
                kind: Kind::Timeout | Kind::Address | Kind::Misaligned | Kind::Failed,
                message,
            }) => Err(message),
        }
    }
}

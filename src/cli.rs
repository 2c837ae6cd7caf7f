//! The command line: what can be asked.

use crate::render::Format;
use crate::runs::Which;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A compiler for self-supervised learning: a spec goes in, a trained encoder comes out.
#[derive(Debug, Parser)]
#[command(name = "sslc", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Args)]
pub struct Global {
    /// How errors and warnings are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub error_format: Format,
    /// Threads that compute [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where kernels run: auto (a GPU where there is one, else the CPU), cpu, cuda or cuda:N (an NVIDIA GPU), or reference (luminal's own
    /// operators: exact, slow, small shapes only)
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Whether a training on a GPU takes kernels of cuBLASLt and cuDNN where these are installed and faster, as measured before its
    /// first step
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "on",
        value_name = "ON|OFF"
    )]
    pub autotune: Switch,
}

/// Something that can be forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// A spec and what the command line overrides in it.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    /// The spec file
    pub spec: PathBuf,
    /// Override a param or a setting: --set batch=64, --set train.epochs=2
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_override)]
    pub overrides: Vec<(String, String)>,
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as name=value, for example --set train.epochs=2".to_owned()),
    }
}

/// A split of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    Train,
    Test,
}

fn part(text: &str) -> Result<f64, String> {
    match positive(text) {
        Ok(v) if v <= 1.0 => Ok(v),
        _ => Err("it is a number above 0 and at most 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v.is_finite() => Ok(v),
        _ => Err("it is a number above 0".to_owned()),
    }
}

/// Two specs to compare.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The spec whose lines are marked with `-`
    pub first: PathBuf,
    /// The spec whose lines are marked with `+`
    pub second: PathBuf,
    /// Override a param or a setting in both
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_override)]
    pub overrides: Vec<(String, String)>,
    /// Exit with 1 where they differ
    #[arg(long)]
    pub exit_code: bool,
}

/// Specs and stages to hold to snapshots.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// The spec files
    #[arg(required = true)]
    pub specs: Vec<PathBuf>,
    /// Which stages
    #[arg(
        long = "stage",
        value_enum,
        value_delimiter = ',',
        default_value = "core,kernels",
        value_name = "STAGE"
    )]
    pub stages: Vec<Stage>,
    /// Override a param or a setting in each of them
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_override)]
    pub overrides: Vec<(String, String)>,
    /// Take the present texts as the snapshots
    #[arg(long)]
    pub accept: bool,
    /// A snapshot that is missing is a difference, too: for tests that run unattended
    #[arg(long, conflicts_with = "accept")]
    pub check: bool,
}

/// What speed is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// PyTorch in eager mode, channels-last
    Pytorch,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a spec and train it
    Run {
        #[command(flatten)]
        spec: SpecArgs,
        /// The run directory [default: runs/NAME-DATE]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Go on with a run that was interrupted, from its last checkpoint
        #[arg(long, value_name = "RUN", conflicts_with = "out")]
        resume: Option<PathBuf>,
        /// Go on although the spec differs from the one that the run was begun with
        #[arg(long, requires = "resume")]
        allow_spec_change: bool,
        /// Write what happens as JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that was interrupted, from its last checkpoint
    Resume {
        /// The run directory
        run: PathBuf,
        /// Write what happens as JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Judge the features of a run by k-NN and by linear classification
    Eval {
        /// The run directory
        run: PathBuf,
        /// Neighbours of k-NN [default: the spec's, or 200]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        k: Option<u32>,
        /// Temperature of the neighbours' votes [default: the spec's, or 0.1]
        #[arg(long, value_name = "T", value_parser = positive)]
        temperature: Option<f64>,
        /// Passes over the features that a linear classifier is trained for
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        epochs: u32,
        /// Fine-tune the encoder with this part of the labels as well; may be given again: --finetune 0.01 --finetune 1
        #[arg(long, value_name = "PART", value_parser = part)]
        finetune: Vec<f64>,
        /// Seeds of the linear classifier and of fine-tuning: 0 to N − 1
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        seeds: u32,
        /// Which weights
        #[arg(long, value_enum, default_value = "last")]
        checkpoint: Which,
        /// Where the numbers go [default: eval.json in the run directory]
        #[arg(long, value_name = "FILE.json")]
        json: Option<PathBuf>,
    },
    /// Write the features of images as a file
    Embed {
        /// The run directory
        run: PathBuf,
        /// A folder of images in place of the run's data
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// Which images
        #[arg(long, value_enum, default_value = "train")]
        split: SplitName,
        /// The file to write: .safetensors, .npy or .csv
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Which weights
        #[arg(long, value_enum, default_value = "last")]
        checkpoint: Which,
    },
    /// Report every error and warning of specs, and do nothing else
    Check {
        /// The spec files
        #[arg(required = true)]
        specs: Vec<PathBuf>,
        /// Override a param or a setting in each of them
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_override)]
        overrides: Vec<(String, String)>,
    },
    /// Print a stage of the compilation
    Graph {
        #[command(flatten)]
        spec: SpecArgs,
        /// Which stage; needed but for `--format svg`, which draws `core` at the level of its networks
        #[arg(long, value_enum)]
        emit: Option<Stage>,
        /// In which form
        #[arg(long, value_enum, default_value = "text")]
        format: GraphFormat,
    },
    /// Make one exact training step from given tensors, for comparison with other frameworks
    Step {
        #[command(flatten)]
        spec: SpecArgs,
        /// Views (f32, NCHW), labels, and any parameters, buffers and optimizer state, by name
        #[arg(
            long,
            value_name = "FILE.safetensors",
            required_unless_present = "init_only"
        )]
        inputs: Option<PathBuf>,
        /// Where loss, values, gradients and updated tensors go
        #[arg(long, value_name = "FILE.safetensors")]
        output: PathBuf,
        /// The step's place in the schedules, from 0
        #[arg(long, value_name = "K", default_value_t = 0)]
        at_step: u64,
        /// Write the initial parameters and stop
        #[arg(long)]
        init_only: bool,
    },
    /// Time training steps on random views, or the making of views
    Bench {
        #[command(flatten)]
        spec: SpecArgs,
        /// Steps to time, after one to warm up
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        steps: u32,
        /// Time the making of views in place of steps: on one core, from memory and, for image folders, from JPEG; as many
        /// rounds of a quarter of a second as there would be steps
        #[arg(long)]
        views: bool,
        /// A table for people, or a JSON object
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Run the same steps (or make the same views) elsewhere as well, in turns with ours, and print the ratio
        #[arg(long, value_enum, value_name = "PEER")]
        compare: Option<Peer>,
        /// The Python that has the peer installed
        #[arg(
            long,
            default_value = "python3",
            value_name = "PROGRAM",
            requires = "compare"
        )]
        python: PathBuf,
    },
    /// Draw a contact sheet of the views
    Views {
        #[command(flatten)]
        spec: SpecArgs,
        /// The image to show; by default, the first of the training data
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
        /// The sheet to write (PNG): one row for each view
        #[arg(long, value_name = "FILE.png", required_unless_present = "raw")]
        out: Option<PathBuf>,
        /// Write the exact tensors before `normalize` as well
        #[arg(long, value_name = "FILE.safetensors")]
        raw: Option<PathBuf>,
        /// The seed of the draws [default: the spec's]
        #[arg(long)]
        seed: Option<u64>,
        /// Draws of each view
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
        count: u32,
    },
    /// Write a report of runs: one HTML page that needs nothing else
    Report {
        /// Run directories; several are compared
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// The page to write [default: report.html, in the run directory or, for several, in the current folder]
        #[arg(long, value_name = "FILE.html")]
        out: Option<PathBuf>,
    },
    /// Show how two specs differ after evaluation: settings, views, networks, loss
    Diff(DiffArgs),
    /// Hold stages of specs to snapshots in insta's format
    ///
    /// Snapshots lie in `snapshots/` beside each spec. One that is missing is written; one that differs is shown and waits
    /// for review beside the old one, and the command exits with 1.
    Snapshot(SnapshotArgs),
    /// Write the encoder of a run for PyTorch, timm or ONNX
    Export {
        /// The run directory
        run: PathBuf,
        /// The file to write: .safetensors (torchvision's names) or .onnx; with `--as timm`, a folder
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The format [default: by the file's ending]
        #[arg(long, value_enum)]
        format: Option<ExportFormat>,
        /// Write what this library loads
        #[arg(long = "as", value_enum, value_name = "LIBRARY")]
        library: Option<Library>,
        /// Which weights of the run
        #[arg(long, value_enum, default_value = "last")]
        checkpoint: Which,
    },
    /// Look at the images of a spec
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Download a data set from its publisher: cifar10, cifar100, stl10 or fashion_mnist
    Fetch {
        /// The set, by the name of its source in a spec
        set: String,
        /// The folder that the set's own folder goes into
        #[arg(long, value_name = "DIR", default_value = "data")]
        out: PathBuf,
        /// Another address under which the published files lie
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
    /// Format specs in place
    Fmt {
        /// The spec files; `-` reads standard input and writes standard output
        #[arg(required = true)]
        specs: Vec<PathBuf>,
        /// Change nothing; exit 1 if a file is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Explain an error or warning code
    Explain {
        /// Such as E0101; without a code, all codes are listed
        code: Option<String>,
    },
    /// Print the standard library: a list, or the source of one module
    Std {
        /// Such as resnet, losses, or the name of a function or layer
        name: Option<String>,
    },
    /// Write a commented starter spec for your own images
    New {
        /// The method
        #[arg(value_enum)]
        method: Method,
        /// The file to write [default: METHOD.ssl]
        path: Option<PathBuf>,
        /// Your images, or the folder of a published set: sizes, batch and evaluation are fitted to them [default: the
        /// small set inside the program]
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// Overwrite the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// A stage of the compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The syntax tree
    Ast,
    /// The spec evaluated: a typed list of tensor operations
    Core,
    /// One training step: forward, gradients, updates
    Step,
    /// The luminal graph of the step
    Luminal,
    /// Fused kernels and the memory plan
    Kernels,
    /// CUDA C of the kernels, and how it is launched
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Weights, with torchvision's names
    Safetensors,
    /// A model that takes images and gives features
    Onnx,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Decode every image; report sizes, channels, labels, duplicates and damaged files (exit 3 if there are any)
    Check {
        #[command(flatten)]
        spec: SpecArgs,
        /// A report for people, or a JSON object that names every damaged file
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// A library that has networks of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// PyTorch Image Models
    Timm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Text,
    Json,
    Dot,
    /// A drawing of views, networks and loss
    Svg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    Simclr,
    Byol,
    BarlowTwins,
    Simsiam,
}

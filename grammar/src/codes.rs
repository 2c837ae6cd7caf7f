//! The table of diagnostic codes. Each code has a page `docs/errors/CODE.md`; `sslc explain CODE` prints it.
//!
//! Invariant: a code is never given a second meaning. Ranges: E00 syntax, E01 names and values, E02 shapes,
//! E03 modules and networks, E04 settings (train, eval, views, data, schedules), E05 imports, E06 data and files,
//! E07 device and memory, E08 training, E09 command line, W01 lints, W06 data and files.

use crate::diag::Severity;
use serde::{Serialize, Serializer};

/// Which exit code an error ends the program with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: the spec is wrong.
    Spec,
    /// 2: the command line is wrong.
    Usage,
    /// 3: data or files.
    Data,
    /// 4: device.
    Device,
    /// 5: training stopped.
    Training,
}

impl Exit {
    pub fn status(self) -> u8 {
        match self {
            Exit::Spec => 1,
            Exit::Usage => 2,
            Exit::Data => 3,
            Exit::Device => 4,
            Exit::Training => 5,
        }
    }
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeInfo {
    pub name: &'static str,
    pub title: &'static str,
    pub exit: Exit,
}

/// A diagnostic code, such as `E0123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub &'static CodeInfo);

impl Code {
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Codes that begin with W are warnings.
    pub fn severity(self) -> Severity {
        if self.0.name.starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.name)
    }
}

macro_rules! codes {
    ($($name:ident $exit:ident $title:literal)*) => {
        $(
            #[doc = $title]
            pub const $name: Code = Code(&CodeInfo { name: stringify!($name), title: $title, exit: Exit::$exit });
        )*
        /// Every code, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    // E00: syntax
    E0001 Spec "something else was expected here"
    E0002 Spec "the file holds no item"
    E0003 Spec "a character that means nothing in a spec"
    E0004 Spec "a string is not closed"
    E0005 Spec "an unknown escape in a string"
    E0006 Spec "brackets do not match"
    E0007 Spec "brackets nest too deep"
    E0008 Spec "a number is written in another way"
    E0009 Spec "a number is too large"
    E0010 Spec "a reserved word cannot be a name"
    E0011 Spec "no item starts like this"
    E0012 Spec "the bracket of a call or index stands apart"
    E0013 Spec "comparisons and ranges do not chain"
    E0014 Spec "`=`, `:` and `==` are confused"
    E0015 Spec "a sign of another language"
    E0016 Spec "parentheses are needed"
    E0017 Spec "an argument without a name stands behind one with a name"
    E0018 Spec "a name is given twice"
    E0019 Spec "a module has exactly one `forward`"
    E0020 Spec "a param takes a literal"
    E0021 Spec "a `-` at the beginning of a line starts an expression"
    E0022 Spec "a word for a later version"
    E0023 Spec "the file is too large"
    // E01: names and values
    // E02: shapes
    // E03: modules and networks
    // E04: settings
    // E05: imports
    // E06: data and files
    E0601 Data "the data were not found"
    E0602 Data "the data cannot be read"
    E0603 Data "a file has the wrong length"
    E0604 Data "not an idx file"
    E0605 Data "a label is out of range"
    E0606 Data "images and labels differ in number"
    E0607 Data "there are no images"
    E0608 Data "an image cannot be decoded"
    E0609 Data "images have 1 or 3 channels"
    E0610 Data "the classes of the test folder differ"
    E0611 Data "the number of images differs from `count`"
    E0612 Data "a batch is larger than the data"
    E0613 Data "the folder holds splits, not classes"
    E0614 Data "an image is too small for a crop"
    E0615 Data "a view has another size than its batch"
    E0616 Data "the threads for the views failed"
    E0650 Data "a file does not exist"
    E0651 Data "a file cannot be read"
    E0652 Data "not a whole safetensors file"
    E0653 Data "a tensor's element type is not supported"
    E0654 Data "a file cannot be written"
    E0655 Data "a file is not text"
    E0660 Data "a tensor is missing from the inputs"
    E0661 Data "a tensor of the inputs has another shape"
    E0662 Data "the inputs hold a tensor that the spec does not know"
    // E07: device and memory
    E0701 Device "not enough memory"
    E0702 Device "the compiled program is not valid"
    E0750 Device "there is no such device"
    // E08: training
    E0801 Training "the loss is not finite"
    // E09: command line
    E0901 Usage "there is no such code"
    E0902 Usage "the standard library has no such name"
    E0903 Usage "the file exists already"
    E0904 Usage "a stage has no such form"
    // W01: lints
    W0150 Spec "the loss collapses"
    W0151 Spec "a target's output is not stopped"
    W0152 Spec "a predictor without stop-gradient"
    W0153 Spec "batch norm over one image"
    W0154 Spec "division by zero"
    W0155 Spec "the loss never reaches a network"
    // W06: data and files
    W0601 Data "damaged images are skipped"
    W0602 Data "a set has an unusual size"
    W0603 Data "images beside class folders are left out"
    // W08: training
    W0801 Data "k-NN is left out"
}

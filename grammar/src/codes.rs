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
    E0101 Spec "an unknown name"
    E0102 Spec "a name is defined twice"
    E0103 Spec "a name is used before it is defined"
    E0104 Spec "a value of the wrong kind"
    E0106 Spec "this cannot be called"
    E0107 Spec "an argument is missing"
    E0108 Spec "an argument that is not taken"
    E0109 Spec "an argument is given twice"
    E0110 Spec "a value that is not allowed"
    E0111 Spec "an unknown field"
    E0112 Spec "arithmetic without a result"
    E0113 Spec "an index out of range"
    E0114 Spec "endless recursion"
    E0115 Spec "a value that needs itself"
    E0116 Spec "an operator does not take these values"
    E0118 Spec "`--set` names nothing"
    E0119 Spec "`--set` gives a value of another type"
    E0120 Spec "the evaluation nests too deep"
    E0121 Spec "an error of the spec's own"
    E0122 Spec "the evaluation takes too long"
    // E02: shapes
    E0200 Spec "shapes that an operation does not take"
    E0201 Spec "shapes that do not fit together"
    E0202 Spec "a matrix product of the wrong shapes"
    E0203 Spec "an axis that a tensor does not have"
    E0204 Spec "a tensor with the wrong number of axes"
    E0205 Spec "a tensor of an impossible size"
    E0206 Spec "a reshape that changes the number of elements"
    E0207 Spec "a window larger than the image"
    E0208 Spec "not a single number"
    E0209 Spec "a tensor of the wrong element type"
    E0210 Spec "tensors that cannot be joined"
    // E03: modules and networks
    E0301 Spec "one layer, two input sizes"
    E0302 Spec "parameters made inside a function"
    E0303 Spec "parameters outside of any network"
    E0304 Spec "a module in two networks"
    E0305 Spec "a target of a network that is never applied"
    E0306 Spec "names and networks of a target do not match"
    E0307 Spec "an even kernel without padding"
    E0308 Spec "`channels_in` outside of a module"
    E0310 Spec "no encoder"
    E0312 Spec "groups that do not divide the channels"
    E0313 Spec "batch norm over a single value"
    // E04: settings
    E0401 Spec "an unknown setting"
    E0402 Spec "a setting is given twice"
    E0403 Spec "a setting is missing"
    E0404 Spec "both `epochs` and `steps`"
    E0405 Spec "a setting's value is not allowed"
    E0406 Spec "not available yet"
    E0407 Spec "no loss"
    E0408 Spec "an item that stands once stands twice"
    E0409 Spec "no data"
    E0410 Spec "no views, or no `train` block"
    E0411 Spec "views of unknown or different sizes"
    E0412 Spec "an operation after `normalize`"
    E0413 Spec "`normalize` for another number of channels"
    E0414 Spec "a range or probability out of order"
    E0415 Spec "the warm-up is longer than the training"
    E0416 Spec "the length of the training is not known"
    E0417 Spec "a batch larger than the data"
    E0418 Spec "no network or kind of parameter"
    E0419 Spec "random images in evaluation"
    // E05: imports
    E0501 Spec "an import that cannot be read"
    E0502 Spec "an import outside of the spec's folder"
    E0503 Spec "files that import each other"
    E0504 Spec "imports nest too deep"
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
    E0670 Data "not a run directory"
    E0671 Data "a run has no weights yet"
    E0672 Data "weights of another spec"
    E0673 Data "a checkpoint is damaged"
    E0674 Data "the run directory is in use"
    E0675 Spec "the run was begun with another spec"
    E0676 Data "the run directory holds a run"
    E0677 Data "the data of the run have changed"
    E0678 Data "an evaluation needs labels"
    E0680 Spec "an op that ONNX does not have"
    E0681 Spec "images of a batch see each other"
    E0682 Spec "timm has no such network"
    E0683 Data "a weight is missing"
    E0684 Data "weights that do not fit a network"
    E0690 Data "a download failed"
    E0691 Data "a download is not the published file"
    E0692 Data "an archive that cannot be unpacked"
    E0693 Data "image files are damaged"
    // E07: device and memory
    E0701 Device "not enough memory"
    E0702 Device "the compiled program is not valid"
    E0703 Device "a tensor is too large for a device"
    E0704 Device "a step needs more than `memory` allows"
    E0750 Device "there is no such device"
    E0751 Device "the comparison cannot run"
    E0752 Device "CUDA is not there"
    E0753 Device "the compiler of CUDA kernels is missing"
    E0754 Device "a CUDA kernel cannot be made"
    E0755 Device "the GPU failed"
    E0756 Device "a library that the run takes kernels from is missing"
    // E08: training
    E0801 Training "the loss is not finite"
    E0802 Data "labels are not known"
    // E09: command line
    E0901 Usage "there is no such code"
    E0902 Usage "the standard library has no such name"
    E0903 Usage "the file exists already"
    E0904 Usage "the file's ending names no format"
    E0905 Usage "a stage that cannot be printed like this"
    E0906 Data "a snapshot that cannot be read"
    E0910 Usage "no format to export"
    E0911 Usage "there is no such set to fetch"
    // W01: lints
    W0101 Spec "a name that is never used"
    W0102 Spec "an import that is never used"
    W0103 Spec "an operation without effect on one channel"
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
    W0604 Data "a damaged checkpoint is passed over"
    W0610 Data "the classifier of a file of weights is left out"
    // W08: training
    W0801 Data "k-NN is left out"
    W0802 Data "training waits for views"
    W0803 Data "TensorBoard events cannot be written"
    W0804 Training "what does not fit a changed spec is left out"
    W0805 Data "the embedding has collapsed"
}

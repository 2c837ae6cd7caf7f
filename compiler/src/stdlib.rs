//! The standard library: modules and functions written in the language itself.

/// A file of the standard library.
#[derive(Clone, Copy, Debug)]
pub struct StdModule {
    pub name: &'static str,
    pub text: &'static str,
}

/// Every file, in the order `sslc std` lists them.
pub const MODULES: &[StdModule] = &[
    StdModule {
        name: "losses",
        text: include_str!("../std/losses.ssl"),
    },
    StdModule {
        name: "resnet",
        text: include_str!("../std/resnet.ssl"),
    },
];

/// The file of this name.
pub fn module(name: &str) -> Option<&'static StdModule> {
    MODULES.iter().find(|m| m.name == name)
}

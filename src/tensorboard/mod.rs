//! Event files that TensorBoard opens: `tensorboard --logdir RUN`.
//!
//! - [`messages`]: the part of TensorBoard's protocol buffers that is written. [`records`]: their framing in a file.
//! - [`recorder`]: what happens in training as scalars, and the views as an image.
//! - [`projector`]: the embedding, for the Projector tab.
pub mod messages;
pub mod projector;
pub mod recorder;
pub mod records;

/// The folder of the run directory that event files and the projector's files lie in.
pub const FOLDER: &str = "tensorboard";

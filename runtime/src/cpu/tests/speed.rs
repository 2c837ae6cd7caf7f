//! Speed of kernels.

//! The context, root of every other object.

use crate::common::{c_text, check, make, released, text_of, Result};
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

/// Memory, threads and the seed of everything made from it. Its parameters are given once, as others may be reading
/// them.
pub struct Context {
    pub(crate) raw: *mut ffi::mio_context,
}

released!(Context, mio_context_release);
unsafe impl Sync for Context {}

impl Context {
    /// parameters: "threads", "seed". Errors: [`Status::Argument`] names the parameter and its bounds.
    pub fn new(parameters: &[(&str, f64)]) -> Result<Context> {
        let made = Context { raw: make(|place| unsafe { ffi::mio_context_create(place) })? };
        for (name, value) in parameters {
            let name = c_text(name)?;
            check(unsafe { ffi::mio_context_set(made.raw, name.as_ptr(), *value) })?;
        }
        Ok(made)
    }

    /// The instruction set that the kernels use: "avx512", "avx2" or "generic".
    pub fn target(&self) -> String {
        text_of(unsafe { ffi::mio_context_target(self.raw) })
    }
}

impl Clone for Context {
    /// The same context once more.
    fn clone(&self) -> Context {
        Context { raw: unsafe { ffi::mio_context_retain(self.raw) } }
    }
}

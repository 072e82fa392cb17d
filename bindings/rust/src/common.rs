//! What every module shares: statuses, named parameters, tensors, and how C is called.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::raw::{c_char, c_int};
use std::path::Path;
use std::ptr::{null, null_mut};

use crate::ffi;

// ---- errors ----

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// An argument or an input value is refused; nothing was changed.
    Argument,
    /// The allocator had nothing left.
    Memory,
    /// The operating system refused to open, read, write or rename.
    Io,
    /// A file is truncated, corrupt or of another kind.
    Format,
    /// This build or this CPU lacks the feature.
    Unsupported,
    /// The call needs another call first.
    State,
    /// A callback ended it.
    Cancelled,
    /// Any other: the number of a `mio_status`.
    Other(i32),
}

impl Status {
    /// Its number in C, for a callback that failed: never that of success.
    pub(crate) fn number(self) -> c_int {
        match self {
            Status::Argument => 1,
            Status::Memory => 2,
            Status::Io => 3,
            Status::Format => 4,
            Status::Unsupported => 5,
            Status::State => 6,
            Status::Cancelled | Status::Other(0) => 7,
            Status::Other(number) => number,
        }
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its kind.
    pub status: Status,
    /// The culprit and the remedy in words.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What every call that can fail returns.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn refuse<T>(message: String) -> Result<T> {
    Err(Error { status: Status::Argument, message })
}

pub(crate) fn check(status: c_int) -> Result<()> {
    let status = match status {
        0 => return Ok(()),
        1 => Status::Argument,
        2 => Status::Memory,
        3 => Status::Io,
        4 => Status::Format,
        5 => Status::Unsupported,
        6 => Status::State,
        7 => Status::Cancelled,
        other => Status::Other(other),
    };
    Err(Error { status, message: text_of(unsafe { ffi::mio_last_error() }) })
}

/// Runs a call that makes an object.
pub(crate) fn make<T>(call: impl FnOnce(*mut *mut T) -> c_int) -> Result<*mut T> {
    let mut made = null_mut();
    check(call(&mut made))?;
    Ok(made)
}

// ---- texts ----

/// Of a string of the library that lives long enough to be copied.
pub(crate) fn text_of(text: *const c_char) -> String {
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

pub(crate) fn c_text(text: &str) -> Result<CString> {
    CString::new(text).or_else(|_| refuse(format!("{:?} holds a zero byte", text)))
}

#[cfg(unix)]
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).or_else(|_| refuse(format!("{:?} holds a zero byte", path)))
}

/// All names of a list of static ones.
pub(crate) fn names(name_at: unsafe extern "C" fn(usize) -> *const c_char) -> Vec<String> {
    (0..).map(|i| unsafe { name_at(i) }).take_while(|name| !name.is_null()).map(text_of).collect()
}

// ---- arrays ----

fn product(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor))
}

pub(crate) fn expect_length(what: &str, found: usize, factors: &[usize]) -> Result<()> {
    match product(factors) {
        Some(expected) if expected == found => Ok(()),
        _ => refuse(format!("{} has {} values; {:?} multiplied are expected", what, found, factors)),
    }
}

/// Number of rows of `dim` values.
pub(crate) fn rows_of(what: &str, values: usize, dim: usize) -> Result<usize> {
    if dim == 0 || values % dim != 0 {
        return refuse(format!("{} has {} values, no rows of {}", what, values, dim));
    }
    Ok(values / dim)
}

/// Room for a result. Errors: [`Status::Memory`].
pub(crate) fn zeros<T: Copy + Default>(factors: &[usize]) -> Result<Vec<T>> {
    let mut made = Vec::new();
    match product(factors) {
        Some(count) if made.try_reserve_exact(count).is_ok() => {
            made.resize(count, T::default());
            Ok(made)
        }
        _ => Err(Error {
            status: Status::Memory,
            message: format!("{:?} values multiplied find no room in memory", factors),
        }),
    }
}

pub(crate) fn pointer_or_null<T>(values: Option<&[T]>) -> *const T {
    values.map_or(null(), |v| v.as_ptr())
}

// ---- handles and parameters ----

/// A value of a named parameter.
pub enum Value<'a> {
    /// A number; of a choice its index.
    Number(f64),
    /// The name of a choice, a number in words, "true" or "false".
    Text(&'a str),
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Number(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Value::Number(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Number(u8::from(value).into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

macro_rules! released {
    ($name:ident, $release:ident) => {
        impl Drop for $name {
            fn drop(&mut self) {
                unsafe { $crate::ffi::$release(self.raw) }
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
        // The library keeps no thread's state in an object, and gives references back atomically.
        unsafe impl Send for $name {}
    };
}

macro_rules! configured {
    ($name:ident, $set:ident, $set_text:ident, $get:ident) => {
        impl $name {
            /// Sets a named parameter; the error names its bounds or choices.
            pub fn set<'a>(&mut self, parameter: &str, value: impl Into<$crate::Value<'a>>) -> $crate::Result<()> {
                use $crate::common::{c_text, check};
                let parameter = c_text(parameter)?;
                match value.into() {
                    $crate::Value::Number(value) => {
                        check(unsafe { $crate::ffi::$set(self.raw, parameter.as_ptr(), value) })
                    }
                    $crate::Value::Text(text) => {
                        let text = c_text(text)?;
                        check(unsafe { $crate::ffi::$set_text(self.raw, parameter.as_ptr(), text.as_ptr()) })
                    }
                }
            }

            /// Reads a named parameter.
            pub fn get(&self, parameter: &str) -> $crate::Result<f64> {
                let (parameter, mut value) = ($crate::common::c_text(parameter)?, 0.0);
                $crate::common::check(unsafe { $crate::ffi::$get(self.raw, parameter.as_ptr(), &mut value) })?;
                Ok(value)
            }
        }
    };
}

pub(crate) use {configured, released};

/// One weight or running statistic of an encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// torchvision's, such as "layer1.0.conv1.weight".
    pub name: String,
    /// As PyTorch has it: a convolution's out, in, kernel, kernel; a linear layer's out, in.
    pub shape: Vec<usize>,
    /// Whether training changes it: false of running statistics.
    pub trainable: bool,
}

/// Version of the library at run time: major, minor, patch.
pub fn version() -> (u32, u32, u32) {
    let version = unsafe { ffi::mio_version() };
    (version >> 16, version >> 8 & 0xff, version & 0xff)
}

//! libmio for Rust: handles that release themselves, statuses that become errors, slices whose lengths are checked. Every
//! method is one call of the C library, whose headers say more about each (shapes, units, parameters).
//!
//! ```no_run
//! # fn main() -> libmio::Result<()> {
//! let context = libmio::Context::new(&[("threads", 2.0)])?;
//! let encoder = libmio::Encoder::load(&context, "encoder.mio")?;
//! let features = encoder.embed(1, 32, 32, 3, &[0u8; 32 * 32 * 3])?;
//!
//! let images = libmio::Dataset::open(&context, "flat", "/data/frames", None)?;
//! let mut recipe = libmio::Recipe::new(&context, "mio-small")?;
//! recipe.set("trainer.epochs", 20)?;
//! let mut trainer = recipe.build(&images)?;
//! trainer.run(|report| { println!("{} {}", report.step, report.loss); true })?;
//! trainer.into_encoder().save("encoder.mio")?;
//! # Ok(())
//! # }
//! ```
//!
//! What may be used from several threads at once is `Sync`: an encoder embeds for many threads. What changes an object takes
//! it by `&mut`.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ops::Deref;
use std::os::raw::{c_char, c_int, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// The C library's declarations, those that are used here.
mod ffi {
    use super::{c_char, c_int, c_void, Report};

    macro_rules! opaque {
        ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
    }
    opaque!(mio_context mio_loss mio_builder mio_encoder mio_dataset mio_recipe mio_trainer mio_knn mio_probe);

    #[link(name = "mio")]
    extern "C" {
        pub fn mio_last_error() -> *const c_char;
        pub fn mio_version() -> u32;

        pub fn mio_context_create(context: *mut *mut mio_context) -> c_int;
        pub fn mio_context_retain(context: *mut mio_context) -> *mut mio_context;
        pub fn mio_context_release(context: *mut mio_context);
        pub fn mio_context_set(context: *mut mio_context, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_context_target(context: *const mio_context) -> *const c_char;

        pub fn mio_loss_name_at(index: usize) -> *const c_char;
        pub fn mio_loss_create(context: *mut mio_context, name: *const c_char, loss: *mut *mut mio_loss) -> c_int;
        pub fn mio_loss_release(loss: *mut mio_loss);
        pub fn mio_loss_set(loss: *mut mio_loss, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_loss_set_text(loss: *mut mio_loss, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_loss_get(loss: *const mio_loss, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_loss_set_batch(loss: *mut mio_loss, count: usize, labels: *const i32, indices: *const usize) -> c_int;
        pub fn mio_loss_compute(
            loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f32, z2: *const f32, value: *mut f64,
            grad_z1: *mut f32, grad_z2: *mut f32,
        ) -> c_int;
        pub fn mio_loss_compute_f64(
            loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, value: *mut f64,
            grad_z1: *mut f64, grad_z2: *mut f64,
        ) -> c_int;

        pub fn mio_builder_create(
            context: *mut mio_context, channels: usize, height: usize, width: usize, builder: *mut *mut mio_builder,
        ) -> c_int;
        pub fn mio_builder_release(builder: *mut mio_builder);
        pub fn mio_builder_name(builder: *mut mio_builder, name: *const c_char);
        pub fn mio_builder_input(builder: *mut mio_builder) -> i32;
        pub fn mio_builder_conv2d(
            builder: *mut mio_builder, input: i32, out_channels: usize, kernel: usize, stride: usize, padding: usize,
        ) -> i32;
        pub fn mio_builder_batch_norm(builder: *mut mio_builder, input: i32) -> i32;
        pub fn mio_builder_batch_norm_plain(builder: *mut mio_builder, input: i32) -> i32;
        pub fn mio_builder_relu(builder: *mut mio_builder, input: i32) -> i32;
        pub fn mio_builder_max_pool(
            builder: *mut mio_builder, input: i32, kernel: usize, stride: usize, padding: usize,
        ) -> i32;
        pub fn mio_builder_global_average_pool(builder: *mut mio_builder, input: i32) -> i32;
        pub fn mio_builder_add(builder: *mut mio_builder, left: i32, right: i32) -> i32;
        pub fn mio_builder_linear(builder: *mut mio_builder, input: i32, out_features: usize, bias: i32) -> i32;
        pub fn mio_builder_resnet(
            builder: *mut mio_builder, input: i32, depth: i32, base_width: usize, stem: c_int,
        ) -> i32;
        pub fn mio_builder_projector(
            builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize,
        ) -> i32;
        pub fn mio_builder_predictor(
            builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize,
        ) -> i32;
        pub fn mio_builder_mlp(
            builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize, hidden_norm: c_int,
            last_norm: c_int,
        ) -> i32;
        pub fn mio_builder_finish_with_predictions(
            builder: *mut mio_builder, features: i32, projections: i32, predictions: i32, encoder: *mut *mut mio_encoder,
        ) -> c_int;

        pub fn mio_encoder_retain(encoder: *mut mio_encoder) -> *mut mio_encoder;
        pub fn mio_encoder_release(encoder: *mut mio_encoder);
        pub fn mio_encoder_set(encoder: *mut mio_encoder, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_encoder_set_text(encoder: *mut mio_encoder, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_encoder_get(encoder: *const mio_encoder, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_encoder_feature_dim(encoder: *const mio_encoder, dim: *mut usize) -> c_int;
        pub fn mio_encoder_projection_dim(encoder: *const mio_encoder, dim: *mut usize) -> c_int;
        pub fn mio_encoder_input_shape(
            encoder: *const mio_encoder, channels: *mut usize, height: *mut usize, width: *mut usize,
        ) -> c_int;
        pub fn mio_encoder_embed(
            encoder: *mut mio_encoder, count: usize, height: usize, width: usize, channels: usize, row_stride: usize,
            images: *const u8, features: *mut f32,
        ) -> c_int;
        pub fn mio_encoder_load(context: *mut mio_context, path: *const c_char, encoder: *mut *mut mio_encoder) -> c_int;
        pub fn mio_encoder_save(encoder: *const mio_encoder, path: *const c_char) -> c_int;

        pub fn mio_dataset_open(
            context: *mut mio_context, format: *const c_char, path: *const c_char, split: *const c_char,
            dataset: *mut *mut mio_dataset,
        ) -> c_int;
        pub fn mio_dataset_from_memory(
            context: *mut mio_context, count: usize, height: usize, width: usize, channels: usize, row_stride: usize,
            images: *const u8, labels: *const i32, dataset: *mut *mut mio_dataset,
        ) -> c_int;
        pub fn mio_dataset_subset(
            dataset: *mut mio_dataset, count: usize, indices: *const usize, subset: *mut *mut mio_dataset,
        ) -> c_int;
        pub fn mio_dataset_split(
            dataset: *mut mio_dataset, fraction: f64, seed: u64, first: *mut *mut mio_dataset,
            second: *mut *mut mio_dataset,
        ) -> c_int;
        pub fn mio_dataset_class_name(dataset: *const mio_dataset, label: usize) -> *const c_char;
        pub fn mio_dataset_image_name(dataset: *const mio_dataset, index: usize, name: *mut *const c_char) -> c_int;
        pub fn mio_dataset_release(dataset: *mut mio_dataset);
        pub fn mio_dataset_count(dataset: *const mio_dataset) -> usize;
        pub fn mio_dataset_class_count(dataset: *const mio_dataset) -> usize;
        pub fn mio_dataset_label(dataset: *const mio_dataset, index: usize, label: *mut i32) -> c_int;
        pub fn mio_evaluate_embed(encoder: *mut mio_encoder, dataset: *const mio_dataset, features: *mut f32) -> c_int;

        pub fn mio_recipe_create(context: *mut mio_context, name: *const c_char, recipe: *mut *mut mio_recipe) -> c_int;
        pub fn mio_recipe_release(recipe: *mut mio_recipe);
        pub fn mio_recipe_set(recipe: *mut mio_recipe, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_recipe_set_text(recipe: *mut mio_recipe, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_recipe_get(recipe: *const mio_recipe, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_recipe_choose(recipe: *mut mio_recipe, part: *const c_char, name: *const c_char) -> c_int;
        pub fn mio_recipe_build(
            recipe: *mut mio_recipe, dataset: *mut mio_dataset, trainer: *mut *mut mio_trainer,
        ) -> c_int;

        pub fn mio_trainer_release(trainer: *mut mio_trainer);
        pub fn mio_trainer_set(trainer: *mut mio_trainer, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_trainer_set_text(trainer: *mut mio_trainer, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_trainer_get(trainer: *const mio_trainer, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_trainer_run(
            trainer: *mut mio_trainer, callback: Option<unsafe extern "C" fn(*mut c_void, *const Report) -> i32>,
            user: *mut c_void,
        ) -> c_int;
        pub fn mio_trainer_step(trainer: *mut mio_trainer, report: *mut Report) -> c_int;
        pub fn mio_trainer_encoder(trainer: *mut mio_trainer) -> *mut mio_encoder;
        pub fn mio_trainer_steps_done(trainer: *const mio_trainer) -> u64;
        pub fn mio_trainer_save(trainer: *const mio_trainer, path: *const c_char) -> c_int;
        pub fn mio_trainer_restore(trainer: *mut mio_trainer, path: *const c_char) -> c_int;

        pub fn mio_knn_create(context: *mut mio_context, knn: *mut *mut mio_knn) -> c_int;
        pub fn mio_knn_release(knn: *mut mio_knn);
        pub fn mio_knn_set(knn: *mut mio_knn, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_knn_set_text(knn: *mut mio_knn, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_knn_get(knn: *const mio_knn, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_knn_fit(
            knn: *mut mio_knn, count: usize, dim: usize, features: *const f32, labels: *const i32,
        ) -> c_int;
        pub fn mio_knn_predict(
            knn: *mut mio_knn, count: usize, dim: usize, queries: *const f32, predictions: *mut i32,
        ) -> c_int;
        pub fn mio_knn_search(
            knn: *mut mio_knn, count: usize, dim: usize, queries: *const f32, neighbours: usize, indices: *mut usize,
            similarities: *mut f32,
        ) -> c_int;

        pub fn mio_probe_create(context: *mut mio_context, solver: *const c_char, probe: *mut *mut mio_probe) -> c_int;
        pub fn mio_probe_release(probe: *mut mio_probe);
        pub fn mio_probe_set(probe: *mut mio_probe, parameter: *const c_char, value: f64) -> c_int;
        pub fn mio_probe_set_text(probe: *mut mio_probe, parameter: *const c_char, text: *const c_char) -> c_int;
        pub fn mio_probe_get(probe: *const mio_probe, parameter: *const c_char, value: *mut f64) -> c_int;
        pub fn mio_probe_fit(
            probe: *mut mio_probe, count: usize, dim: usize, features: *const f32, labels: *const i32, classes: usize,
        ) -> c_int;
        pub fn mio_probe_predict(
            probe: *mut mio_probe, count: usize, dim: usize, features: *const f32, predictions: *mut i32,
            logits: *mut f32,
        ) -> c_int;
    }
}

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

/// A failed call: its kind, and the culprit and the remedy in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: Status,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

fn refuse<T>(message: String) -> Result<T> {
    Err(Error { status: Status::Argument, message })
}

/// Of a static string of the library.
fn text_of(text: *const c_char) -> String {
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn check(status: c_int) -> Result<()> {
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
fn make<T>(call: impl FnOnce(*mut *mut T) -> c_int) -> Result<*mut T> {
    let mut made = null_mut();
    check(call(&mut made))?;
    Ok(made)
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).or_else(|_| refuse(format!("{:?} holds a zero byte", text)))
}

#[cfg(unix)]
fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).or_else(|_| refuse(format!("{:?} holds a zero byte", path)))
}

fn expect_length(what: &str, found: usize, factors: &[usize]) -> Result<()> {
    match factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor)) {
        Some(expected) if expected == found => Ok(()),
        _ => refuse(format!("{} has {} values; {:?} multiplied are expected", what, found, factors)),
    }
}

fn pointer_or_null<T>(values: Option<&[T]>) -> *const T {
    values.map_or(null(), |v| v.as_ptr())
}

// ---- handles and parameters ----

/// A value of a named parameter: a number, or the name of a choice.
pub enum Value<'a> {
    Number(f64),
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
                unsafe { ffi::$release(self.raw) }
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            pub fn set<'a>(&mut self, parameter: &str, value: impl Into<Value<'a>>) -> Result<()> {
                let parameter = c_text(parameter)?;
                match value.into() {
                    Value::Number(value) => check(unsafe { ffi::$set(self.raw, parameter.as_ptr(), value) }),
                    Value::Text(text) => {
                        let text = c_text(text)?;
                        check(unsafe { ffi::$set_text(self.raw, parameter.as_ptr(), text.as_ptr()) })
                    }
                }
            }

            /// Reads a named parameter.
            pub fn get(&self, parameter: &str) -> Result<f64> {
                let (parameter, mut value) = (c_text(parameter)?, 0.0);
                check(unsafe { ffi::$get(self.raw, parameter.as_ptr(), &mut value) })?;
                Ok(value)
            }
        }
    };
}

/// Memory, threads and the seed of everything made from it. Its parameters are given once, as others may be reading them.
pub struct Context {
    raw: *mut ffi::mio_context,
}

released!(Context, mio_context_release);
unsafe impl Sync for Context {}

impl Context {
    /// parameters: "threads", "seed".
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

/// Version of the library at run time: major, minor, patch.
pub fn version() -> (u32, u32, u32) {
    let version = unsafe { ffi::mio_version() };
    (version >> 16, version >> 8 & 0xff, version & 0xff)
}

// ---- losses ----

/// A loss on arrays: value and closed-form gradients.
pub struct Loss {
    raw: *mut ffi::mio_loss,
}

released!(Loss, mio_loss_release);
configured!(Loss, mio_loss_set, mio_loss_set_text, mio_loss_get);

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` and `f64`.
pub trait Real: sealed::Sealed + Copy {
    #[doc(hidden)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn compute(
        loss: &mut Loss, pairs: usize, dim: usize, z1: *const Self, z2: *const Self, value: *mut f64, g1: *mut Self,
        g2: *mut Self,
    ) -> c_int;
}

macro_rules! real {
    ($type:ty, $compute:ident) => {
        impl Real for $type {
            unsafe fn compute(
                loss: &mut Loss, pairs: usize, dim: usize, z1: *const Self, z2: *const Self, value: *mut f64,
                g1: *mut Self, g2: *mut Self,
            ) -> c_int {
                ffi::$compute(loss.raw, pairs, dim, z1, z2, value, g1, g2)
            }
        }
    };
}

real!(f32, mio_loss_compute);
real!(f64, mio_loss_compute_f64);

impl Loss {
    pub fn new(context: &Context, name: &str) -> Result<Loss> {
        let name = c_text(name)?;
        Ok(Loss { raw: make(|place| unsafe { ffi::mio_loss_create(context.raw, name.as_ptr(), place) })? })
    }

    /// Names of all losses.
    pub fn names() -> Vec<String> {
        (0..).map(|i| unsafe { ffi::mio_loss_name_at(i) }).take_while(|name| !name.is_null()).map(text_of).collect()
    }

    /// Value of pairs x dim rows; gradients of the same size, where they are given, are written.
    pub fn compute<T: Real>(
        &mut self, pairs: usize, dim: usize, z1: &[T], z2: &[T], gradients: Option<(&mut [T], &mut [T])>,
    ) -> Result<f64> {
        expect_length("z1", z1.len(), &[pairs, dim])?;
        expect_length("z2", z2.len(), &[pairs, dim])?;
        let (mut value, mut g1, mut g2) = (0.0, null_mut(), null_mut());
        if let Some((first, second)) = gradients {
            expect_length("the first gradient", first.len(), &[pairs, dim])?;
            expect_length("the second gradient", second.len(), &[pairs, dim])?;
            g1 = first.as_mut_ptr();
            g2 = second.as_mut_ptr();
        }
        check(unsafe { T::compute(self, pairs, dim, z1.as_ptr(), z2.as_ptr(), &mut value, g1, g2) })?;
        Ok(value)
    }

    /// Labels and dataset indices of the images of the next computations; `None` forgets them.
    pub fn set_batch(&mut self, labels: Option<&[i32]>, indices: Option<&[usize]>) -> Result<()> {
        let count = labels.map_or(indices.map_or(0, <[usize]>::len), <[i32]>::len);
        if let Some(indices) = indices {
            expect_length("indices", indices.len(), &[count])?;
        }
        check(unsafe {
            ffi::mio_loss_set_batch(self.raw, count, pointer_or_null(labels), pointer_or_null(indices))
        })
    }
}

// ---- encoders ----

/// The beginning of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 7x7 of stride 2 and max-pooling.
    Imagenet = 0,
    /// 3x3 of stride 1, for small images.
    Small = 1,
    /// The same without padding.
    SmallUnpadded = 2,
}

/// What follows a linear layer of [`Builder::mlp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Nothing; the layer has a bias.
    None = 0,
    /// Batch norm without weight and bias of its own.
    Plain = 1,
    /// Batch norm.
    Affine = 2,
}

/// A value in a network under construction.
#[derive(Clone, Copy, Debug)]
pub struct Node(i32);

/// Layers of a network; mistakes surface in [`Builder::finish`].
pub struct Builder {
    raw: *mut ffi::mio_builder,
}

released!(Builder, mio_builder_release);

impl Builder {
    pub fn new(context: &Context, channels: usize, height: usize, width: usize) -> Result<Builder> {
        Ok(Builder {
            raw: make(|place| unsafe { ffi::mio_builder_create(context.raw, channels, height, width, place) })?,
        })
    }

    /// Names the next layer.
    pub fn name(&mut self, name: &str) -> Result<&mut Builder> {
        let name = c_text(name)?;
        unsafe { ffi::mio_builder_name(self.raw, name.as_ptr()) };
        Ok(self)
    }

    pub fn input(&mut self) -> Node {
        Node(unsafe { ffi::mio_builder_input(self.raw) })
    }

    pub fn conv2d(&mut self, x: Node, out_channels: usize, kernel: usize, stride: usize, padding: usize) -> Node {
        Node(unsafe { ffi::mio_builder_conv2d(self.raw, x.0, out_channels, kernel, stride, padding) })
    }

    pub fn batch_norm(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_batch_norm(self.raw, x.0) })
    }

    pub fn relu(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_relu(self.raw, x.0) })
    }

    pub fn max_pool(&mut self, x: Node, kernel: usize, stride: usize, padding: usize) -> Node {
        Node(unsafe { ffi::mio_builder_max_pool(self.raw, x.0, kernel, stride, padding) })
    }

    pub fn global_average_pool(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_global_average_pool(self.raw, x.0) })
    }

    pub fn add(&mut self, left: Node, right: Node) -> Node {
        Node(unsafe { ffi::mio_builder_add(self.raw, left.0, right.0) })
    }

    pub fn linear(&mut self, x: Node, out_features: usize, bias: bool) -> Node {
        Node(unsafe { ffi::mio_builder_linear(self.raw, x.0, out_features, bias as i32) })
    }

    pub fn resnet(&mut self, x: Node, depth: i32, base_width: usize, stem: Stem) -> Node {
        Node(unsafe { ffi::mio_builder_resnet(self.raw, x.0, depth, base_width, stem as c_int) })
    }

    pub fn projector(&mut self, x: Node, layers: usize, hidden: usize, out: usize) -> Node {
        Node(unsafe { ffi::mio_builder_projector(self.raw, x.0, layers, hidden, out) })
    }

    pub fn batch_norm_plain(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_batch_norm_plain(self.raw, x.0) })
    }

    pub fn predictor(&mut self, x: Node, layers: usize, hidden: usize, out: usize) -> Node {
        Node(unsafe { ffi::mio_builder_predictor(self.raw, x.0, layers, hidden, out) })
    }

    pub fn mlp(&mut self, x: Node, layers: usize, hidden: usize, out: usize, hidden_norm: Norm, last_norm: Norm) -> Node {
        Node(unsafe {
            ffi::mio_builder_mlp(self.raw, x.0, layers, hidden, out, hidden_norm as c_int, last_norm as c_int)
        })
    }

    /// The encoder whose features, and projections if there are any, are these values.
    pub fn finish(self, features: Node, projections: Option<Node>) -> Result<Encoder> {
        self.finish_with_predictions(features, projections, None)
    }

    /// The same with predictions, for byol, simsiam and nnclr.
    pub fn finish_with_predictions(
        self, features: Node, projections: Option<Node>, predictions: Option<Node>,
    ) -> Result<Encoder> {
        let (projections, predictions) = (projections.map_or(-1, |node| node.0), predictions.map_or(-1, |node| node.0));
        Ok(Encoder {
            raw: make(|place| unsafe {
                ffi::mio_builder_finish_with_predictions(self.raw, features.0, projections, predictions, place)
            })?,
        })
    }
}

/// A network that turns images into features.
pub struct Encoder {
    raw: *mut ffi::mio_encoder,
}

released!(Encoder, mio_encoder_release);
configured!(Encoder, mio_encoder_set, mio_encoder_set_text, mio_encoder_get);
// What takes &self is const in C, or embeds: those calls may run beside each other, as the header promises.
unsafe impl Sync for Encoder {}

impl Encoder {
    /// From an encoder's file or a trainer's checkpoint.
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Encoder> {
        let path = c_path(path.as_ref())?;
        Ok(Encoder { raw: make(|place| unsafe { ffi::mio_encoder_load(context.raw, path.as_ptr(), place) })? })
    }

    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_encoder_save(self.raw, path.as_ptr()) })
    }

    pub fn feature_dim(&self) -> usize {
        let mut dim = 0;
        unsafe { ffi::mio_encoder_feature_dim(self.raw, &mut dim) };
        dim
    }

    /// 0 without projections.
    pub fn projection_dim(&self) -> usize {
        let mut dim = 0;
        unsafe { ffi::mio_encoder_projection_dim(self.raw, &mut dim) };
        dim
    }

    /// Channels, height, width of its input; images of other sizes are resized.
    pub fn input_shape(&self) -> (usize, usize, usize) {
        let mut shape = (0, 0, 0);
        unsafe { ffi::mio_encoder_input_shape(self.raw, &mut shape.0, &mut shape.1, &mut shape.2) };
        shape
    }

    /// Features, count x feature_dim, of count x height x width x channels bytes.
    pub fn embed(&self, count: usize, height: usize, width: usize, channels: usize, images: &[u8]) -> Result<Vec<f32>> {
        expect_length("images", images.len(), &[count, height, width, channels])?;
        if count > 0 && images.is_empty() {
            return refuse("images of no pixels".to_string());
        }
        let mut features = vec![0.0; count * self.feature_dim()];
        check(unsafe {
            ffi::mio_encoder_embed(
                self.raw, count, height, width, channels, 0, images.as_ptr(), features.as_mut_ptr(),
            )
        })?;
        Ok(features)
    }

    /// Features of every image of a dataset.
    pub fn embed_dataset(&self, dataset: &Dataset) -> Result<Vec<f32>> {
        let mut features = vec![0.0; dataset.len() * self.feature_dim()];
        check(unsafe { ffi::mio_evaluate_embed(self.raw, dataset.raw, features.as_mut_ptr()) })?;
        Ok(features)
    }
}

// ---- data ----

/// Images, with labels or without.
pub struct Dataset {
    raw: *mut ffi::mio_dataset,
    pixels: Option<Arc<Vec<u8>>>, // borrowed by raw, and by whatever is built on it
}

released!(Dataset, mio_dataset_release);
unsafe impl Sync for Dataset {}

impl Dataset {
    /// format: "cifar10", "folder", "flat", "idx", ...; see `mio_dataset_open`.
    pub fn open(context: &Context, format: &str, path: impl AsRef<Path>, split: Option<&str>) -> Result<Dataset> {
        let (format, path) = (c_text(format)?, c_path(path.as_ref())?);
        let split = split.map(c_text).transpose()?;
        let split = split.as_ref().map_or(null(), |text| text.as_ptr());
        let raw =
            make(|place| unsafe { ffi::mio_dataset_open(context.raw, format.as_ptr(), path.as_ptr(), split, place) })?;
        Ok(Dataset { raw, pixels: None })
    }

    /// Over count x height x width x channels bytes.
    pub fn from_images(
        context: &Context, count: usize, height: usize, width: usize, channels: usize, images: Vec<u8>,
        labels: Option<&[i32]>,
    ) -> Result<Dataset> {
        expect_length("images", images.len(), &[count, height, width, channels])?;
        if let Some(labels) = labels {
            expect_length("labels", labels.len(), &[count])?;
        }
        let pixels = Arc::new(images);
        let raw = make(|place| unsafe {
            ffi::mio_dataset_from_memory(
                context.raw, count, height, width, channels, 0, pixels.as_ptr(), pointer_or_null(labels), place,
            )
        })?;
        Ok(Dataset { raw, pixels: Some(pixels) })
    }

    pub fn len(&self) -> usize {
        unsafe { ffi::mio_dataset_count(self.raw) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn classes(&self) -> usize {
        unsafe { ffi::mio_dataset_class_count(self.raw) }
    }

    /// -1 where an image has none.
    pub fn label(&self, index: usize) -> Result<i32> {
        let mut label = -1;
        check(unsafe { ffi::mio_dataset_label(self.raw, index, &mut label) })?;
        Ok(label)
    }

    /// None where the dataset has none.
    pub fn class_name(&self, label: usize) -> Option<String> {
        let name = unsafe { ffi::mio_dataset_class_name(self.raw, label) };
        (!name.is_null()).then(|| text_of(name))
    }

    /// The file that an image came from.
    pub fn image_name(&self, index: usize) -> Result<String> {
        let mut name = null();
        check(unsafe { ffi::mio_dataset_image_name(self.raw, index, &mut name) })?;
        Ok(text_of(name))
    }

    /// The images at these indices, in this order.
    pub fn subset(&self, indices: &[usize]) -> Result<Dataset> {
        let raw = make(|place| unsafe { ffi::mio_dataset_subset(self.raw, indices.len(), indices.as_ptr(), place) })?;
        Ok(Dataset { raw, pixels: self.pixels.clone() })
    }

    /// Two datasets, the first with this fraction of every class.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let mut second = null_mut();
        let first = make(|place| unsafe { ffi::mio_dataset_split(self.raw, fraction, seed, place, &mut second) })?;
        Ok((Dataset { raw: first, pixels: self.pixels.clone() }, Dataset { raw: second, pixels: self.pixels.clone() }))
    }
}

// ---- training ----

/// A complete set of choices for a run; parameters have prefixes, such as "trainer.epochs".
pub struct Recipe {
    raw: *mut ffi::mio_recipe,
}

released!(Recipe, mio_recipe_release);
configured!(Recipe, mio_recipe_set, mio_recipe_set_text, mio_recipe_get);

impl Recipe {
    pub fn new(context: &Context, name: &str) -> Result<Recipe> {
        let name = c_text(name)?;
        Ok(Recipe { raw: make(|place| unsafe { ffi::mio_recipe_create(context.raw, name.as_ptr(), place) })? })
    }

    /// Takes another "loss", "optimizer" or "schedule".
    pub fn choose(&mut self, part: &str, name: &str) -> Result<()> {
        let (part, name) = (c_text(part)?, c_text(name)?);
        check(unsafe { ffi::mio_recipe_choose(self.raw, part.as_ptr(), name.as_ptr()) })
    }

    /// The run on a dataset.
    pub fn build(&mut self, dataset: &Dataset) -> Result<Trainer> {
        let raw = make(|place| unsafe { ffi::mio_recipe_build(self.raw, dataset.raw, place) })?;
        Ok(Trainer { raw, _pixels: dataset.pixels.clone() })
    }
}

/// What a step did: `mio_step_report`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    struct_size: usize,
    pub step: u64,
    pub epoch: u64,
    pub steps_per_epoch: u64,
    pub total_steps: u64,
    pub loss: f64,
    pub learning_rate: f64,
    pub images_per_second: f64,
    pub step_seconds: f64,
    pub wait_seconds: f64,
    pub positive_similarity: f64,
    pub negative_similarity: f64,
    pub pair_accuracy: f64,
    pub alignment: f64,
    pub uniformity: f64,
    pub channel_deviation: f64,
    pub effective_rank: f64,
    pub mutual_information: f64,
    pub gradient_norm: f64,
}

/// A run: steps, checkpoints, and the encoder that learns.
pub struct Trainer {
    raw: *mut ffi::mio_trainer,
    _pixels: Option<Arc<Vec<u8>>>,
}

released!(Trainer, mio_trainer_release);
configured!(Trainer, mio_trainer_set, mio_trainer_set_text, mio_trainer_get);

/// A trainer's encoder, for as long as no step changes it.
pub struct TrainedEncoder<'a> {
    encoder: std::mem::ManuallyDrop<Encoder>,
    _trainer: &'a Trainer,
}

impl Deref for TrainedEncoder<'_> {
    type Target = Encoder;
    fn deref(&self) -> &Encoder {
        &self.encoder
    }
}

/// What [`Trainer::run`] calls, and how it ended if it panicked.
struct Steps<F> {
    callback: F,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

unsafe extern "C" fn on_step<F: FnMut(&Report) -> bool>(user: *mut c_void, report: *const Report) -> i32 {
    let steps = &mut *user.cast::<Steps<F>>();
    let callback = &mut steps.callback;
    match catch_unwind(AssertUnwindSafe(|| callback(&*report))) {
        Ok(goes_on) => i32::from(!goes_on),
        Err(panic) => {
            steps.panic = Some(panic);
            1
        }
    }
}

impl Trainer {
    /// Steps to the end. A callback that returns false stops: [`Status::Cancelled`]. Its panics come out here.
    pub fn run<F: FnMut(&Report) -> bool>(&mut self, callback: F) -> Result<()> {
        let mut steps = Steps { callback, panic: None };
        let user: *mut Steps<F> = &mut steps;
        let status = unsafe { ffi::mio_trainer_run(self.raw, Some(on_step::<F>), user.cast()) };
        match steps.panic {
            Some(panic) => resume_unwind(panic),
            None => check(status),
        }
    }

    /// The trained encoder, at the run's end.
    pub fn into_encoder(self) -> Encoder {
        Encoder { raw: unsafe { ffi::mio_encoder_retain(ffi::mio_trainer_encoder(self.raw)) } }
    }

    pub fn step(&mut self) -> Result<Report> {
        let mut report = Report { struct_size: std::mem::size_of::<Report>(), ..Report::default() };
        check(unsafe { ffi::mio_trainer_step(self.raw, &mut report) })?;
        Ok(report)
    }

    pub fn steps_done(&self) -> u64 {
        unsafe { ffi::mio_trainer_steps_done(self.raw) }
    }

    pub fn encoder(&self) -> TrainedEncoder<'_> {
        let raw = unsafe { ffi::mio_trainer_encoder(self.raw) }; // the trainer's reference
        TrainedEncoder { encoder: std::mem::ManuallyDrop::new(Encoder { raw }), _trainer: self }
    }

    /// A checkpoint, from which the run goes on bit for bit.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_trainer_save(self.raw, path.as_ptr()) })
    }

    pub fn restore(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_trainer_restore(self.raw, path.as_ptr()) })
    }
}

// ---- search ----

/// Nearest neighbours by cosine similarity.
pub struct Knn {
    raw: *mut ffi::mio_knn,
    count: usize, // of the bank
}

released!(Knn, mio_knn_release);
configured!(Knn, mio_knn_set, mio_knn_set_text, mio_knn_get);

impl Knn {
    pub fn new(context: &Context) -> Result<Knn> {
        Ok(Knn { raw: make(|place| unsafe { ffi::mio_knn_create(context.raw, place) })?, count: 0 })
    }

    /// Stores rows of dim features, with labels or to search only.
    pub fn fit(&mut self, dim: usize, features: &[f32], labels: Option<&[i32]>) -> Result<()> {
        let count = rows_of("features", features.len(), dim)?;
        if let Some(labels) = labels {
            expect_length("labels", labels.len(), &[count])?;
        }
        check(unsafe { ffi::mio_knn_fit(self.raw, count, dim, features.as_ptr(), pointer_or_null(labels)) })?;
        self.count = count;
        Ok(())
    }

    /// The class of each query.
    pub fn predict(&mut self, dim: usize, queries: &[f32]) -> Result<Vec<i32>> {
        let count = rows_of("queries", queries.len(), dim)?;
        let mut classes = vec![0; count];
        check(unsafe { ffi::mio_knn_predict(self.raw, count, dim, queries.as_ptr(), classes.as_mut_ptr()) })?;
        Ok(classes)
    }

    /// Indices and similarities of each query's neighbours, the best first.
    pub fn search(&mut self, dim: usize, queries: &[f32], neighbours: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        let count = rows_of("queries", queries.len(), dim)?;
        if self.count > 0 && neighbours > self.count {
            return refuse(format!("{} neighbours were asked for; the bank has {}", neighbours, self.count));
        }
        let values = if self.count > 0 { count * neighbours } else { 0 }; // before fit the library refuses
        let (mut indices, mut similarities) = (vec![0; values], vec![0.0; values]);
        check(unsafe {
            ffi::mio_knn_search(
                self.raw, count, dim, queries.as_ptr(), neighbours, indices.as_mut_ptr(), similarities.as_mut_ptr(),
            )
        })?;
        Ok((indices, similarities))
    }
}

/// A linear classifier on frozen features.
pub struct Probe {
    raw: *mut ffi::mio_probe,
}

released!(Probe, mio_probe_release);
configured!(Probe, mio_probe_set, mio_probe_set_text, mio_probe_get);

impl Probe {
    /// solver: "exact" or "sgd".
    pub fn new(context: &Context, solver: &str) -> Result<Probe> {
        let solver = c_text(solver)?;
        Ok(Probe { raw: make(|place| unsafe { ffi::mio_probe_create(context.raw, solver.as_ptr(), place) })? })
    }

    /// On rows of dim features and labels from 0 on.
    pub fn fit(&mut self, dim: usize, features: &[f32], labels: &[i32]) -> Result<()> {
        let count = rows_of("features", features.len(), dim)?;
        expect_length("labels", labels.len(), &[count])?;
        let classes = labels.iter().max().map_or(1, |most| (*most).max(0) as usize + 1);
        check(unsafe { ffi::mio_probe_fit(self.raw, count, dim, features.as_ptr(), labels.as_ptr(), classes) })
    }

    /// The class of each row.
    pub fn predict(&mut self, dim: usize, features: &[f32]) -> Result<Vec<i32>> {
        let count = rows_of("features", features.len(), dim)?;
        let mut classes = vec![0; count];
        check(unsafe {
            ffi::mio_probe_predict(self.raw, count, dim, features.as_ptr(), classes.as_mut_ptr(), null_mut())
        })?;
        Ok(classes)
    }
}

fn rows_of(what: &str, values: usize, dim: usize) -> Result<usize> {
    if dim == 0 || values % dim != 0 {
        return refuse(format!("{} has {} values, no rows of {}", what, values, dim));
    }
    Ok(values / dim)
}

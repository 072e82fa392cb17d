//! Losses on plain arrays, the library's and the caller's own.

use std::any::Any;
use std::os::raw::{c_int, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{null_mut, NonNull};
use std::slice;

use crate::common::{
    c_text, check, configured, expect_length, make, names, pointer_or_null, released, text_of, Error, Result, Status,
};
use crate::context::Context;
use crate::ffi;

/// A loss on arrays: value and closed-form gradients.
pub struct Loss {
    pub(crate) raw: *mut ffi::mio_loss,
    own: Option<Own>, // what raw calls, given back after it
}

released!(Loss, mio_loss_release);
configured!(Loss, mio_loss_set, mio_loss_set_text, mio_loss_get);

mod sealed {
    use super::{c_int, ffi};

    pub trait Sealed: Copy {
        #[allow(clippy::too_many_arguments)]
        unsafe fn compute(
            loss: *mut ffi::mio_loss, pairs: usize, dim: usize, z1: *const Self, z2: *const Self, value: *mut f64,
            g1: *mut Self, g2: *mut Self,
        ) -> c_int;
    }
}

/// `f32` and `f64`: what a loss is computed in.
pub trait Real: sealed::Sealed {}

macro_rules! real {
    ($type:ty, $compute:ident) => {
        impl sealed::Sealed for $type {
            unsafe fn compute(
                loss: *mut ffi::mio_loss, pairs: usize, dim: usize, z1: *const Self, z2: *const Self, value: *mut f64,
                g1: *mut Self, g2: *mut Self,
            ) -> c_int {
                ffi::$compute(loss, pairs, dim, z1, z2, value, g1, g2)
            }
        }
        impl Real for $type {}
    };
}

real!(f32, mio_loss_compute);
real!(f64, mio_loss_compute_f64);

impl Loss {
    /// A loss of the library with its default parameters. Errors: [`Status::Argument`] (an unknown name; the message
    /// lists the known ones).
    pub fn new(context: &Context, name: &str) -> Result<Loss> {
        let name = c_text(name)?;
        let raw = make(|place| unsafe { ffi::mio_loss_create(context.raw, name.as_ptr(), place) })?;
        Ok(Loss { raw, own: None })
    }

    /// A loss of the caller's own in float, to be used wherever a loss is. It has no parameters, and sees rows alone:
    /// no labels, indices or targets. name: for messages and checkpoints, 1 to 100 bytes.
    ///
    /// compute returns the value of a batch and fills the gradients that it is asked for. It is called by the thread
    /// that computes the loss or steps its trainer, one call at a time. An error that it returns comes out of the call
    /// that led to it, as it is; a panic in it comes out as [`Status::Cancelled`] with the panic's words. Neither
    /// changes a trainer, and loss and trainer go on working.
    ///
    /// Errors: [`Status::Argument`] (a name of another length). Those of a compute are also [`Status::State`] (a
    /// gradient that is not finite) and, in double, [`Status::Unsupported`].
    ///
    /// ```no_run
    /// # fn main() -> libmio::Result<()> {
    /// let context = libmio::Context::new(&[])?;
    /// // Half the squared distance of the two views.
    /// let loss = libmio::Loss::custom(&context, "half_square", |rows| {
    ///     let apart: Vec<f32> = rows.z1.iter().zip(rows.z2).map(|(a, b)| a - b).collect();
    ///     for (gradient, sign) in [(rows.grad_z1, 1.0), (rows.grad_z2, -1.0)] {
    ///         gradient.into_iter().flatten().zip(&apart).for_each(|(to, d)| *to = sign * d);
    ///     }
    ///     Ok(apart.iter().map(|d| 0.5 * f64::from(d * d)).sum())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn custom(
        context: &Context, name: &str, compute: impl FnMut(Rows<'_, f32>) -> Result<f64> + Send + 'static,
    ) -> Result<Loss> {
        Loss::from_functions(context, name, Box::new(compute), None)
    }

    /// The same in float and double. Double is what [`Loss::compute`] of `f64` and Hessians need.
    pub fn custom_f64(
        context: &Context, name: &str, compute: impl FnMut(Rows<'_, f32>) -> Result<f64> + Send + 'static,
        compute_f64: impl FnMut(Rows<'_, f64>) -> Result<f64> + Send + 'static,
    ) -> Result<Loss> {
        Loss::from_functions(context, name, Box::new(compute), Some(Box::new(compute_f64)))
    }

    fn from_functions(
        context: &Context, name: &str, single: Function<f32>, double: Option<Function<f64>>,
    ) -> Result<Loss> {
        let text = c_text(name)?;
        let compute_f64 = double.as_ref().map(|_| on_rows_f64 as ffi::Compute<f64>);
        let own = Own::new(Functions { name: name.to_string(), single, double, failure: None });
        let callback = ffi::mio_loss_callback {
            struct_size: std::mem::size_of::<ffi::mio_loss_callback>(),
            user: own.0.as_ptr().cast(),
            compute: Some(on_rows),
            compute_f64,
        };
        let raw =
            make(|place| unsafe { ffi::mio_loss_create_custom(context.raw, text.as_ptr(), &callback, place) })?;
        Ok(Loss { raw, own: Some(own) })
    }

    /// Names of the library's losses, in alphabetical order.
    pub fn names() -> Vec<String> {
        names(ffi::mio_loss_name_at)
    }

    /// The name that it was made by.
    pub fn name(&self) -> String {
        text_of(unsafe { ffi::mio_loss_name(self.raw) })
    }

    /// Value of one batch: row b of `z1` and row b of `z2` are two views of image b, pairs x dim, row-major, raw
    /// projector outputs. The gradients, where they are given, are written, pairs x dim each.
    ///
    /// Errors: [`Status::Argument`] (another number of values; a value that is not finite: array, row and column are
    /// named; fewer than 2 pairs where the loss has negatives or statistics), [`Status::State`] (labels or indices are
    /// missing, or of another batch), [`Status::Memory`]; of a loss of the caller's own what it returns.
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
        let status = unsafe { T::compute(self.raw, pairs, dim, z1.as_ptr(), z2.as_ptr(), &mut value, g1, g2) };
        self.settle(status)?;
        Ok(value)
    }

    /// Labels and dataset indices of the images of the next computations, one for each image; `None` forgets them.
    /// Errors: [`Status::Argument`] (labels and indices differ in number), [`Status::Memory`].
    pub fn set_batch(&mut self, labels: Option<&[i32]>, indices: Option<&[usize]>) -> Result<()> {
        let count = labels.map_or(indices.map_or(0, <[usize]>::len), <[i32]>::len);
        if let Some(indices) = indices {
            expect_length("indices", indices.len(), &[count])?;
        }
        check(unsafe {
            ffi::mio_loss_set_batch(self.raw, count, pointer_or_null(labels), pointer_or_null(indices))
        })
    }

    /// The result of a call that may have led to the caller's own functions: what they failed with goes first.
    pub(crate) fn settle(&mut self, status: c_int) -> Result<()> {
        let failure = self.own.as_mut().and_then(Own::take_failure);
        match failure {
            Some(error) if status != 0 => Err(error),
            _ => check(status),
        }
    }
}

// ---- losses of the caller's own ----

/// A batch, as a loss of the caller's own gets it: row b of `z1` and row b of `z2` are two views of image b.
#[derive(Debug)]
pub struct Rows<'a, T> {
    /// How many rows each view has.
    pub pairs: usize,
    /// How many values a row has.
    pub dim: usize,
    /// View 1: pairs x dim, row-major, raw projector outputs, all finite.
    pub z1: &'a [T],
    /// View 2, likewise.
    pub z2: &'a [T],
    /// Where the gradient by `z1` goes: pairs x dim, zeros at first. `None` where nobody asks for it.
    pub grad_z1: Option<&'a mut [T]>,
    /// Where the gradient by `z2` goes, likewise.
    pub grad_z2: Option<&'a mut [T]>,
}

type Function<T> = Box<dyn FnMut(Rows<'_, T>) -> Result<f64> + Send>;

/// The caller's functions, and what the last call of one failed with.
struct Functions {
    name: String,
    single: Function<f32>,
    double: Option<Function<f64>>,
    failure: Option<Error>,
}

/// Functions at an address that C keeps.
struct Own(NonNull<Functions>);

impl Own {
    fn new(functions: Functions) -> Own {
        Own(NonNull::from(Box::leak(Box::new(functions))))
    }

    fn take_failure(&mut self) -> Option<Error> {
        unsafe { self.0.as_mut() }.failure.take()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The words of a panic. What else it carries is leaked: dropping it could panic again.
fn words_of(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(words) => return *words,
        Err(panic) => panic,
    };
    match panic.downcast::<&'static str>() {
        Ok(words) => words.to_string(),
        Err(other) => {
            std::mem::forget(other);
            "with a value that is no text".to_string()
        }
    }
}

impl<'a, T: Default> Rows<'a, T> {
    unsafe fn from_raw(pairs: usize, dim: usize, z1: *const T, z2: *const T, g1: *mut T, g2: *mut T) -> Rows<'a, T> {
        let count = pairs * dim;
        let place = |gradient: *mut T| {
            if gradient.is_null() {
                return None;
            }
            (0..count).for_each(|i| gradient.add(i).write(T::default()));
            Some(slice::from_raw_parts_mut(gradient, count))
        };
        let (z1, z2) = (slice::from_raw_parts(z1, count), slice::from_raw_parts(z2, count));
        Rows { pairs, dim, z1, z2, grad_z1: place(g1), grad_z2: place(g2) }
    }
}

/// Calls a function; returns a failure or panic as a number, and keeps it in words.
fn answer<T>(
    name: &str, function: &mut Function<T>, failure: &mut Option<Error>, rows: Rows<'_, T>, value: &mut f64,
) -> c_int {
    let error = match catch_unwind(AssertUnwindSafe(|| function(rows))) {
        Ok(Ok(found)) => {
            *value = found;
            return 0;
        }
        Ok(Err(error)) => error,
        Err(panic) => {
            let message = format!("the loss '{}' panicked: {}", name, words_of(panic));
            Error { status: Status::Cancelled, message }
        }
    };
    let number = error.status.number();
    *failure = Some(error);
    number
}

unsafe extern "C" fn on_rows(
    user: *mut c_void, pairs: usize, dim: usize, z1: *const f32, z2: *const f32, value: *mut f64, grad_z1: *mut f32,
    grad_z2: *mut f32,
) -> c_int {
    let own = &mut *user.cast::<Functions>();
    let rows = Rows::from_raw(pairs, dim, z1, z2, grad_z1, grad_z2);
    answer(&own.name, &mut own.single, &mut own.failure, rows, &mut *value)
}

unsafe extern "C" fn on_rows_f64(
    user: *mut c_void, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, value: *mut f64, grad_z1: *mut f64,
    grad_z2: *mut f64,
) -> c_int {
    let own = &mut *user.cast::<Functions>();
    let rows = Rows::from_raw(pairs, dim, z1, z2, grad_z1, grad_z2);
    match &mut own.double {
        Some(function) => answer(&own.name, function, &mut own.failure, rows, &mut *value),
        None => Status::Unsupported.number(), // C does not come here without it
    }
}

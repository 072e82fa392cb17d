//! Optimizers, and learning-rate schedules.

use crate::common::{c_text, check, configured, make, names, released, text_of, Result};
use crate::context::Context;
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

/// How weights move along their gradients, for [`Trainer::new`](crate::Trainer::new).
pub struct Optimizer {
    pub(crate) raw: *mut ffi::mio_optimizer,
}

released!(Optimizer, mio_optimizer_release);
configured!(Optimizer, mio_optimizer_set, mio_optimizer_set_text, mio_optimizer_get);

impl Optimizer {
    /// "adamw", "lars" or "sgd". Errors: [`Status::Argument`] lists the known names.
    pub fn new(context: &Context, name: &str) -> Result<Optimizer> {
        let name = c_text(name)?;
        Ok(Optimizer { raw: make(|place| unsafe { ffi::mio_optimizer_create(context.raw, name.as_ptr(), place) })? })
    }

    /// Names of all optimizers.
    pub fn names() -> Vec<String> {
        names(ffi::mio_optimizer_name_at)
    }

    /// The name that it was made by.
    pub fn name(&self) -> String {
        text_of(unsafe { ffi::mio_optimizer_name(self.raw) })
    }

    /// Tensors whose names contain one of these get neither weight decay nor layer adaptation. They take the place of
    /// earlier ones. Errors: [`Status::Argument`] (an empty pattern).
    pub fn set_exclusions(&mut self, patterns: &[&str]) -> Result<()> {
        let texts = patterns.iter().map(|pattern| c_text(pattern)).collect::<Result<Vec<_>>>()?;
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        check(unsafe { ffi::mio_optimizer_set_exclusions(self.raw, pointers.len(), pointers.as_ptr()) })
    }
}

/// A learning rate as a function of the step.
pub struct Schedule {
    pub(crate) raw: *mut ffi::mio_schedule,
}

released!(Schedule, mio_schedule_release);
configured!(Schedule, mio_schedule_set, mio_schedule_set_text, mio_schedule_get);

impl Schedule {
    /// "constant", "cosine" (linear warm-up first) or "step" (decay by a factor every so often). Errors:
    /// [`Status::Argument`] lists the known names.
    pub fn new(context: &Context, name: &str) -> Result<Schedule> {
        let name = c_text(name)?;
        Ok(Schedule { raw: make(|place| unsafe { ffi::mio_schedule_create(context.raw, name.as_ptr(), place) })? })
    }

    /// Names of all schedules.
    pub fn names() -> Vec<String> {
        names(ffi::mio_schedule_name_at)
    }

    /// The name that it was made by.
    pub fn name(&self) -> String {
        text_of(unsafe { ffi::mio_schedule_name(self.raw) })
    }

    /// Learning rate of a step, counted from 0, when an epoch has so many steps, 1 at least.
    pub fn at(&self, step: u64, steps_per_epoch: u64) -> Result<f64> {
        let mut rate = 0.0;
        check(unsafe { ffi::mio_schedule_at(self.raw, step, steps_per_epoch, &mut rate) })?;
        Ok(rate)
    }
}

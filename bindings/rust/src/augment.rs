//! Random views of images, and the loader that assembles batches of them ahead of the step.

use std::ptr::null;
use std::slice;

use crate::common::{c_text, check, configured, expect_length, make, names, released, Result};
use crate::context::Context;
use crate::data::{Dataset, Pixels};
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

/// Random operations from a byte image to a normalised view of floats: flip, crop, colour jitter, grey, blur, solarise.
/// Every probability and range is a named parameter.
pub struct Augment {
    pub(crate) raw: *mut ffi::mio_augment,
    view: usize, // values of a view
}

released!(Augment, mio_augment_release);
configured!(Augment, mio_augment_set, mio_augment_set_text, mio_augment_get);
// It may be applied by several threads at once, and is set by &mut alone.
unsafe impl Sync for Augment {}

impl Augment {
    /// A preset for views of height x width x channels. Errors: [`Status::Argument`] (an unknown preset: the known ones
    /// are listed; a view that cannot be).
    pub fn new(context: &Context, preset: &str, height: usize, width: usize, channels: usize) -> Result<Augment> {
        let preset = c_text(preset)?;
        let raw = make(|place| unsafe {
            ffi::mio_augment_create(context.raw, preset.as_ptr(), height, width, channels, place)
        })?;
        Ok(Augment { raw, view: height * width * channels })
    }

    /// Names of the presets.
    pub fn names() -> Vec<String> {
        names(ffi::mio_augment_name_at)
    }

    /// What is taken off a view at the end and what it is divided by, of each channel, in units of \[0, 1\]. 0 and 1 at
    /// first. Errors: [`Status::Argument`] (another number than the views' channels, a value that is not finite, a
    /// deviation of 0).
    pub fn set_normalization(&mut self, mean: &[f64], deviation: &[f64]) -> Result<()> {
        expect_length("deviation", deviation.len(), &[mean.len()])?;
        check(unsafe {
            ffi::mio_augment_set_normalization(self.raw, mean.len(), mean.as_ptr(), deviation.as_ptr())
        })
    }
}

/// Walks a dataset epoch by epoch in a random order and hands out batches of views, epoch after epoch without end.
/// Parameters: "batch_size" (images), "views" (of each image), "seed", "shuffle", "drop_last", "prefetch" (batches
/// assembled ahead).
pub struct Loader {
    pub(crate) raw: *mut ffi::mio_loader,
    pub(crate) pixels: Pixels,
    view: usize,
}

released!(Loader, mio_loader_release);
configured!(Loader, mio_loader_set, mio_loader_set_text, mio_loader_get);

/// A batch of views, in the loader's memory.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Counted from 0.
    pub epoch: u64,
    /// Batch within the epoch, counted from 0.
    pub step: u64,
    /// Images.
    pub count: usize,
    /// Views of each image.
    pub views: usize,
    /// views x count x height x width x channels, normalised.
    pub images: &'a [f32],
    /// Which images of the dataset: count.
    pub indices: &'a [usize],
    /// Their labels, -1 where there is none: count.
    pub labels: &'a [i32],
    /// How long the call waited for the batch, in seconds.
    pub wait_seconds: f64,
}

impl Loader {
    /// Views of a dataset's images. It takes the augment, which must stay as it is. Errors: [`Status::Argument`]
    /// (another number of channels).
    pub fn new(dataset: &Dataset, augment: Augment) -> Result<Loader> {
        let raw = make(|place| unsafe { ffi::mio_loader_create(dataset.raw, augment.raw, place) })?;
        Ok(Loader { raw, pixels: dataset.pixels.clone(), view: augment.view })
    }

    /// Batches in one epoch. Errors: [`Status::Argument`] ("drop_last" leaves none).
    pub fn steps_per_epoch(&self) -> Result<u64> {
        let mut steps = 0;
        check(unsafe { ffi::mio_loader_steps_per_epoch(self.raw, &mut steps) })?;
        Ok(steps)
    }

    /// The next batch, `mio_loader_next`. Errors: [`Status::Argument`] ("drop_last" leaves none; parameters of the
    /// augment that do not fit each other).
    pub fn next_batch(&mut self) -> Result<Batch<'_>> {
        let mut batch = ffi::mio_batch {
            struct_size: std::mem::size_of::<ffi::mio_batch>(),
            epoch: 0,
            step: 0,
            count: 0,
            views: 0,
            images: null(),
            indices: null(),
            labels: null(),
            wait_seconds: 0.0,
        };
        check(unsafe { ffi::mio_loader_next(self.raw, &mut batch) })?;
        let (count, views) = (batch.count, batch.views);
        Ok(Batch {
            epoch: batch.epoch,
            step: batch.step,
            count,
            views,
            images: unsafe { slice::from_raw_parts(batch.images, views * count * self.view) },
            indices: unsafe { slice::from_raw_parts(batch.indices, count) },
            labels: unsafe { slice::from_raw_parts(batch.labels, count) },
            wait_seconds: batch.wait_seconds,
        })
    }

    /// Continues so that the next batch is this one.
    pub fn seek(&mut self, epoch: u64, step: u64) -> Result<()> {
        check(unsafe { ffi::mio_loader_seek(self.raw, epoch, step) })
    }
}

//! Datasets of byte images.

use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use crate::common::{
    c_path, c_text, check, expect_length, make, pointer_or_null, released, text_of, zeros, Result,
};
use crate::context::Context;
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

/// Images, with labels or without. It never changes.
pub struct Dataset {
    pub(crate) raw: *mut ffi::mio_dataset,
    pub(crate) pixels: Pixels,
}

/// A dataset's own pixels, borrowed by what is built on it.
pub(crate) type Pixels = Option<Arc<Vec<u8>>>;

released!(Dataset, mio_dataset_release);
unsafe impl Sync for Dataset {}

impl Dataset {
    /// format: "cifar10", "cifar100", "flat", "folder", "idx" or "stl10"; path and split as each of them takes them,
    /// see `mio_dataset_open`. Errors: [`Status::Io`], [`Status::Format`] (file and offset are named),
    /// [`Status::Unsupported`] (a codec that this build lacks), [`Status::Argument`] (an unknown format or split, no
    /// images).
    pub fn open(context: &Context, format: &str, path: impl AsRef<Path>, split: Option<&str>) -> Result<Dataset> {
        let (format, path) = (c_text(format)?, c_path(path.as_ref())?);
        let split = split.map(c_text).transpose()?;
        let split = split.as_ref().map_or(null(), |text| text.as_ptr());
        let raw =
            make(|place| unsafe { ffi::mio_dataset_open(context.raw, format.as_ptr(), path.as_ptr(), split, place) })?;
        Ok(Dataset { raw, pixels: None })
    }

    /// Over count x height x width x channels bytes; a label of 0 or more for each image. Errors: [`Status::Argument`]
    /// (another number of bytes or labels, an extent of 0, a label below 0).
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

    /// Number of images.
    pub fn len(&self) -> usize {
        unsafe { ffi::mio_dataset_count(self.raw) }
    }

    /// Whether there are no images; the library makes no such dataset.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of every image.
    pub fn channels(&self) -> usize {
        unsafe { ffi::mio_dataset_channels(self.raw) }
    }

    /// Number of classes: the highest label + 1, 0 without labels.
    pub fn classes(&self) -> usize {
        unsafe { ffi::mio_dataset_class_count(self.raw) }
    }

    /// -1 where an image has none. Errors: [`Status::Argument`] (no such image).
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

    /// The file that an image came from. Errors: [`Status::Unsupported`] (any format but "folder" and "flat"),
    /// [`Status::Argument`] (no such image).
    pub fn image_name(&self, index: usize) -> Result<String> {
        let mut name = null();
        check(unsafe { ffi::mio_dataset_image_name(self.raw, index, &mut name) })?;
        Ok(text_of(name))
    }

    /// Mean and standard deviation of each channel over all pixels, in units of \[0, 1\]: what views and encoder are
    /// normalised with.
    pub fn statistics(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let channels = self.channels();
        let (mut mean, mut deviation) = (zeros(&[channels])?, zeros(&[channels])?);
        check(unsafe {
            ffi::mio_dataset_statistics(self.raw, channels, mean.as_mut_ptr(), deviation.as_mut_ptr())
        })?;
        Ok((mean, deviation))
    }

    /// The images at these indices, in this order. Errors: [`Status::Argument`] (no such image; none at all).
    pub fn subset(&self, indices: &[usize]) -> Result<Dataset> {
        let raw = make(|place| unsafe { ffi::mio_dataset_subset(self.raw, indices.len(), indices.as_ptr(), place) })?;
        Ok(Dataset { raw, pixels: self.pixels.clone() })
    }

    /// Two datasets, the first with this fraction of every class. Errors: [`Status::Argument`] (a fraction outside (0,
    /// 1), or that leaves nothing for the second).
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let mut second = null_mut();
        let first = make(|place| unsafe { ffi::mio_dataset_split(self.raw, fraction, seed, place, &mut second) })?;
        Ok((Dataset { raw: first, pixels: self.pixels.clone() }, Dataset { raw: second, pixels: self.pixels.clone() }))
    }
}

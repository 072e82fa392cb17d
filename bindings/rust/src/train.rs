//! Training: recipes by name, trainers of a recipe or of parts.

use std::any::Any;
use std::mem::{size_of, ManuallyDrop};
use std::ops::Deref;
use std::os::raw::{c_int, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;

use crate::augment::Loader;
use crate::common::{c_path, c_text, check, configured, make, released, Result};
use crate::context::Context;
use crate::data::{Dataset, Pixels};
use crate::encoder::Encoder;
use crate::ffi;
use crate::loss::Loss;
use crate::optim::{Optimizer, Schedule};
#[cfg(doc)]
use crate::common::Status;

/// A complete set of choices for a run; parameters have prefixes, such as "trainer.epochs".
pub struct Recipe {
    raw: *mut ffi::mio_recipe,
}

released!(Recipe, mio_recipe_release);
configured!(Recipe, mio_recipe_set, mio_recipe_set_text, mio_recipe_get);

impl Recipe {
    /// "mio-small", "simclr", ... Errors: [`Status::Argument`] lists the known ones.
    pub fn new(context: &Context, name: &str) -> Result<Recipe> {
        let name = c_text(name)?;
        Ok(Recipe { raw: make(|place| unsafe { ffi::mio_recipe_create(context.raw, name.as_ptr(), place) })? })
    }

    /// Takes another "loss", "optimizer" or "schedule", with its default parameters. Errors: [`Status::Argument`]
    /// (another part; an unknown name: the known ones are listed).
    pub fn choose(&mut self, part: &str, name: &str) -> Result<()> {
        let (part, name) = (c_text(part)?, c_text(name)?);
        check(unsafe { ffi::mio_recipe_choose(self.raw, part.as_ptr(), name.as_ptr()) })
    }

    /// The run on a dataset. Errors: [`Status::Argument`] (less than one batch, images of several sizes without
    /// "encoder.height", parameters that do not fit each other).
    pub fn build(&mut self, dataset: &Dataset) -> Result<Trainer> {
        let raw = make(|place| unsafe { ffi::mio_recipe_build(self.raw, dataset.raw, place) })?;
        Ok(Trainer { raw, loss: None, _pixels: dataset.pixels.clone() })
    }
}

/// What a step did: `mio_step_report`. The monitors, from `positive_similarity` on, are taken every "monitor_interval"
/// steps, and NaN on the others, but for the two mean similarities, where the loss found them itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    struct_size: usize,
    /// Steps done, this one included.
    pub step: u64,
    /// Epoch of this step, counted from 0.
    pub epoch: u64,
    /// Batches in an epoch.
    pub steps_per_epoch: u64,
    /// Where [`Trainer::run`] ends.
    pub total_steps: u64,
    /// Of this step's batch, before the step.
    pub loss: f64,
    /// That this step used.
    pub learning_rate: f64,
    /// Images, each in two views, over the time of this step.
    pub images_per_second: f64,
    /// Time of this step.
    pub step_seconds: f64,
    /// Of these, spent waiting for the loader.
    pub wait_seconds: f64,
    /// Mean cosine of positive pairs.
    pub positive_similarity: f64,
    /// Mean cosine of negative pairs.
    pub negative_similarity: f64,
    /// Balanced accuracy of "cosine > 0" as a classifier of pairs.
    pub pair_accuracy: f64,
    /// Mean squared distance of positive pairs of unit vectors.
    pub alignment: f64,
    /// Log of the mean of exp(-2 squared distance) over all pairs of one view's unit vectors.
    pub uniformity: f64,
    /// Of one view's unit projections; 1/sqrt(dim) is healthy, 0 a collapse.
    pub channel_deviation: f64,
    /// exp of the entropy of the singular values of one view's unit projections.
    pub effective_rank: f64,
    /// Jensen-Shannon estimate from the pair logits, in nats.
    pub mutual_information: f64,
    /// Length of the gradient of all weights together.
    pub gradient_norm: f64,
}

/// A run: steps, checkpoints, and the encoder that learns.
pub struct Trainer {
    raw: *mut ffi::mio_trainer,
    loss: Option<Loss>, // of parts: the caller's own functions live in it
    _pixels: Pixels,
}

released!(Trainer, mio_trainer_release);
configured!(Trainer, mio_trainer_set, mio_trainer_set_text, mio_trainer_get);

/// A trainer's encoder, for as long as no step changes it.
pub struct TrainedEncoder<'a> {
    encoder: ManuallyDrop<Encoder>,
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
    panic: Option<Box<dyn Any + Send>>,
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
    /// Joins parts, and takes them: what a run uses is changed by its steps alone. The optimizer gets the encoder's
    /// weights and what the loss learns; [`Trainer::into_encoder`] gives the encoder back.
    ///
    /// The encoder needs projections, the loader must give 2 views of the encoder's input shape, normalised as the
    /// encoder normalises images. Parameters of the trainer are those of `mio_trainer_set`: "epochs" or "steps",
    /// "labels" (true: the loss gets the labels of each batch), "monitor_interval", "micro_batch", ...
    /// A cosine's "total" is to be set to the run's length.
    ///
    /// Errors: [`Status::Argument`] (parts that do not fit so), [`Status::State`] (what the loss learns has another
    /// width than the projections); the parts are then gone.
    pub fn new(
        encoder: Encoder, loss: Loss, optimizer: Optimizer, schedule: Schedule, loader: Loader,
    ) -> Result<Trainer> {
        let raw = make(|place| unsafe {
            ffi::mio_trainer_create(encoder.raw, loss.raw, optimizer.raw, schedule.raw, loader.raw, place)
        })?;
        Ok(Trainer { raw, loss: Some(loss), _pixels: loader.pixels.clone() })
    }

    /// Steps to the end, "epochs" or "steps". A callback that returns false stops: [`Status::Cancelled`]. Its panics
    /// come out here. Other errors are those of [`Trainer::step`].
    pub fn run<F: FnMut(&Report) -> bool>(&mut self, callback: F) -> Result<()> {
        let mut steps = Steps { callback, panic: None };
        let user: *mut Steps<F> = &mut steps;
        let status = unsafe { ffi::mio_trainer_run(self.raw, Some(on_step::<F>), user.cast()) };
        match steps.panic {
            Some(panic) => resume_unwind(panic),
            None => self.settle(status),
        }
    }

    /// The trained encoder, at the run's end.
    pub fn into_encoder(self) -> Encoder {
        Encoder { raw: unsafe { ffi::mio_encoder_retain(ffi::mio_trainer_encoder(self.raw)) } }
    }

    /// One step on the next batch. Errors: those of the parts, of a loss of the caller's own what it returns;
    /// [`Status::State`] (a loss, projection, gradient or weight is not finite: step and layer are named). After an
    /// error the trainer is as before the step.
    pub fn step(&mut self) -> Result<Report> {
        let mut report = Report { struct_size: size_of::<Report>(), ..Report::default() };
        let status = unsafe { ffi::mio_trainer_step(self.raw, &mut report) };
        self.settle(status)?;
        Ok(report)
    }

    fn settle(&mut self, status: c_int) -> Result<()> {
        match &mut self.loss {
            Some(loss) => loss.settle(status),
            None => check(status),
        }
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        unsafe { ffi::mio_trainer_steps_done(self.raw) }
    }

    /// The encoder as it is now.
    pub fn encoder(&self) -> TrainedEncoder<'_> {
        let raw = unsafe { ffi::mio_trainer_encoder(self.raw) }; // the trainer's reference
        TrainedEncoder { encoder: ManuallyDrop::new(Encoder { raw }), _trainer: self }
    }

    /// A checkpoint, from which the run goes on bit for bit; written whole or not at all. Errors: [`Status::Io`],
    /// [`Status::State`] (something is not finite).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_trainer_save(self.raw, path.as_ptr()) })
    }

    /// Goes on from a checkpoint of the same parts. Errors: [`Status::Io`], [`Status::Format`] (a broken file, or of
    /// another network or optimizer), [`Status::Argument`] (of another loss, schedule or dataset); the trainer is then
    /// as before.
    pub fn restore(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_trainer_restore(self.raw, path.as_ptr()) })
    }
}

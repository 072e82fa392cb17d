//! libmio for Rust: handles that release themselves, statuses that become errors, slices whose lengths are checked.
//! Every method is one call of the C library, whose headers say more about each (shapes, units, parameters).
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
//! A run is also put together from parts: [`Trainer::new`] takes an [`Encoder`] of a [`Builder`], a [`Loss`] of the
//! library or of one's own ([`Loss::custom`]), an [`Optimizer`], a [`Schedule`], and a [`Loader`] of views.
//!
//! What may be used from several threads at once is `Sync`: an encoder embeds for many threads. What changes an object
//! takes it by `&mut`, or takes it over: a trainer has its parts to itself, and lends or gives back the encoder.

#![warn(missing_docs)]

mod analysis;
mod augment;
mod common;
mod context;
mod data;
mod encoder;
mod evaluate;
mod ffi;
mod loss;
mod optim;
mod train;

pub use analysis::{mutual_information_at, projector_gradient, Displacements, MutualInformation, Spectrum};
pub use augment::{Augment, Batch, Loader};
pub use common::{version, Error, Result, Status, TensorInfo, Value};
pub use context::Context;
pub use data::Dataset;
pub use encoder::{Builder, Encoder, Node, Norm, Stem};
pub use evaluate::{accuracy, Finetune, Knn, Probe};
pub use loss::{Loss, Real, Rows};
pub use optim::{Optimizer, Schedule};
pub use train::{Recipe, Report, TrainedEncoder, Trainer};

//! What an encoder has learned: features of datasets, search, k-NN, linear probe, fine-tuning.

use std::ptr::null_mut;

use crate::augment::Augment;
use crate::common::{
    c_text, check, configured, expect_length, make, pointer_or_null, refuse, released, rows_of, zeros, Result,
};
use crate::context::Context;
use crate::data::Dataset;
use crate::encoder::Encoder;
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

impl Encoder {
    /// Features of every image of a dataset, count x feature_dim, in its order. Errors: [`Status::Argument`] (other
    /// channels than the encoder's).
    pub fn embed_dataset(&self, dataset: &Dataset) -> Result<Vec<f32>> {
        let mut features = vec![0.0; dataset.len() * self.feature_dim()];
        check(unsafe { ffi::mio_evaluate_embed(self.raw, dataset.raw, features.as_mut_ptr()) })?;
        Ok(features)
    }
}

/// Fraction of predictions that are the labels. Errors: [`Status::Argument`] (none at all, or another number of them).
pub fn accuracy(labels: &[i32], predictions: &[i32]) -> Result<f64> {
    expect_length("predictions", predictions.len(), &[labels.len()])?;
    let mut accuracy = 0.0;
    check(unsafe {
        ffi::mio_evaluate_accuracy(labels.len(), labels.as_ptr(), predictions.as_ptr(), &mut accuracy)
    })?;
    Ok(accuracy)
}

/// Nearest neighbours by cosine similarity. Parameters: "k", "temperature", "weighted".
pub struct Knn {
    raw: *mut ffi::mio_knn,
    count: usize, // of the bank
}

released!(Knn, mio_knn_release);
configured!(Knn, mio_knn_set, mio_knn_set_text, mio_knn_get);

impl Knn {
    /// With an empty bank.
    pub fn new(context: &Context) -> Result<Knn> {
        Ok(Knn { raw: make(|place| unsafe { ffi::mio_knn_create(context.raw, place) })?, count: 0 })
    }

    /// Stores rows of dim features, with labels of 0 or more, or to search only. Errors: [`Status::Argument`] (no whole
    /// rows, a value that is not finite, a label below 0); the bank is then as before.
    pub fn fit(&mut self, dim: usize, features: &[f32], labels: Option<&[i32]>) -> Result<()> {
        let count = rows_of("features", features.len(), dim)?;
        if let Some(labels) = labels {
            expect_length("labels", labels.len(), &[count])?;
        }
        check(unsafe { ffi::mio_knn_fit(self.raw, count, dim, features.as_ptr(), pointer_or_null(labels)) })?;
        self.count = count;
        Ok(())
    }

    /// The class of each query, a row of dim features. Errors: [`Status::State`] (before fit, or without labels),
    /// [`Status::Argument`] (another dim than the bank's).
    pub fn predict(&mut self, dim: usize, queries: &[f32]) -> Result<Vec<i32>> {
        let count = rows_of("queries", queries.len(), dim)?;
        let mut classes = vec![0; count];
        check(unsafe { ffi::mio_knn_predict(self.raw, count, dim, queries.as_ptr(), classes.as_mut_ptr()) })?;
        Ok(classes)
    }

    /// Indices and similarities of each query's neighbours, count x neighbours, the best first. Errors:
    /// [`Status::State`] (before fit), [`Status::Argument`] (no neighbours, or more than the bank has; another dim than
    /// the bank's).
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
    /// solver: "exact" or "sgd". Errors: [`Status::Argument`] lists them.
    pub fn new(context: &Context, solver: &str) -> Result<Probe> {
        let solver = c_text(solver)?;
        Ok(Probe { raw: make(|place| unsafe { ffi::mio_probe_create(context.raw, solver.as_ptr(), place) })? })
    }

    /// On rows of dim features and labels from 0 on. Errors: [`Status::Argument`] (no whole rows, another number of
    /// labels, a label below 0), [`Status::State`] (it diverged); the probe then predicts as before.
    pub fn fit(&mut self, dim: usize, features: &[f32], labels: &[i32]) -> Result<()> {
        let count = rows_of("features", features.len(), dim)?;
        expect_length("labels", labels.len(), &[count])?;
        let classes = labels.iter().max().map_or(1, |most| (*most).max(0) as usize + 1);
        check(unsafe { ffi::mio_probe_fit(self.raw, count, dim, features.as_ptr(), labels.as_ptr(), classes) })
    }

    /// The class of each row. Errors: [`Status::State`] (before fit), [`Status::Argument`] (another dim than fitted).
    pub fn predict(&mut self, dim: usize, features: &[f32]) -> Result<Vec<i32>> {
        let count = rows_of("features", features.len(), dim)?;
        let mut classes = vec![0; count];
        check(unsafe {
            ffi::mio_probe_predict(self.raw, count, dim, features.as_ptr(), classes.as_mut_ptr(), null_mut())
        })?;
        Ok(classes)
    }
}

/// Trains an encoder and a linear classifier together on labels. Parameters: "epochs", "batch_size" (images),
/// "learning_rate", "momentum", "weight_decay", "decay" (factor an epoch), "label_fraction", "seed".
pub struct Finetune {
    raw: *mut ffi::mio_finetune,
    encoder: Encoder,
}

released!(Finetune, mio_finetune_release);
configured!(Finetune, mio_finetune_set, mio_finetune_set_text, mio_finetune_get);

impl Finetune {
    /// Takes the encoder, which runs change.
    pub fn new(encoder: Encoder) -> Result<Finetune> {
        let raw = make(|place| unsafe { ffi::mio_finetune_create(encoder.raw, place) })?;
        Ok(Finetune { raw, encoder })
    }

    /// Trains on "label_fraction" of the images of `train`, class by class. The epoch with the lowest loss on
    /// `validation` is kept, without it the last. The augment must make views of the encoder's input shape and
    /// normalise as the encoder does ([`Encoder::normalization`]).
    ///
    /// Errors: [`Status::Argument`] (an image without label, other channels or views than the encoder's, another
    /// normalisation), [`Status::State`] (it diverged before there was a best epoch); encoder and classifier are then
    /// as before.
    pub fn run(&mut self, train: &Dataset, validation: Option<&Dataset>, augment: &Augment) -> Result<()> {
        let validation = validation.map_or(null_mut(), |dataset| dataset.raw);
        check(unsafe { ffi::mio_finetune_run(self.raw, train.raw, validation, augment.raw) })
    }

    /// The class of every image of a dataset, in its order. Errors: [`Status::State`] (before a run),
    /// [`Status::Argument`] (other channels than the encoder's).
    pub fn predict(&mut self, dataset: &Dataset) -> Result<Vec<i32>> {
        let mut classes = zeros(&[dataset.len()])?;
        check(unsafe { ffi::mio_finetune_predict(self.raw, dataset.raw, classes.as_mut_ptr()) })?;
        Ok(classes)
    }

    /// The encoder as it is now.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The encoder, at the end.
    pub fn into_encoder(self) -> Encoder {
        Encoder { raw: unsafe { ffi::mio_encoder_retain(self.encoder.raw) } }
    }
}

//! Why a loss learns what it learns, on plain arrays and in double; and the curvature that its training meets, on
//! arrays and through an encoder.

use std::mem::size_of;
use std::os::raw::c_int;

use crate::common::{check, expect_length, zeros, Result};
use crate::context::Context;
use crate::encoder::Encoder;
use crate::ffi;
use crate::loss::Loss;
#[cfg(doc)]
use crate::common::Status;

/// The parts of a step on the rows of both views, dz = -rate dL/dz, which add up to it. Each is 2 x pairs x dim, first
/// the rows of `z1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Displacements {
    /// By the row's positive; in supcon and schane by all rows of its label.
    pub attraction: Vec<f64>,
    /// By all other rows.
    pub repulsion: Vec<f64>,
    /// By mio's L2 term; zeros in other losses.
    pub l2: Vec<f64>,
}

/// Estimates of mutual information, in nats.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MutualInformation {
    struct_size: usize,
    /// positive_pairs + negative_pairs: 0 where both look alike, at most 2 ln 2.
    pub jensen_shannon: f64,
    /// ln 2 - mean softplus(-cosine / positive temperature): grows as positives draw together.
    pub positive_pairs: f64,
    /// ln 2 - mean softplus(cosine / negative temperature): grows as negatives draw apart.
    pub negative_pairs: f64,
    /// ln(2 pairs - 1) less NT-Xent at the positive temperature: at most ln(2 pairs - 1).
    pub info_nce: f64,
}

impl MutualInformation {
    fn found(call: impl FnOnce(*mut MutualInformation) -> c_int) -> Result<MutualInformation> {
        let size = size_of::<MutualInformation>();
        let mut found = MutualInformation { struct_size: size, ..MutualInformation::default() };
        check(call(&mut found))?;
        Ok(found)
    }
}

/// A Hessian's spectrum by Lanczos's method, as the start vector sees it: a function's mean over the whole spectrum is
/// near the sum of weights\[i\] f(eigenvalues\[i\]).
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Ritz values, ascending: as many as steps, fewer where the Hessian has fewer. The outermost become the Hessian's
    /// own eigenvalues first.
    pub eigenvalues: Vec<f64>,
    /// The share of the spectrum that each stands for; they sum to 1.
    pub weights: Vec<f64>,
}

impl Spectrum {
    /// Of a Hessian of `size` rows; call returns the status after the count is known.
    fn found(
        steps: usize, size: usize, call: impl FnOnce(*mut f64, *mut f64, *mut usize) -> Result<()>,
    ) -> Result<Spectrum> {
        let most = steps.min(size);
        let (mut eigenvalues, mut weights, mut count) = (zeros(&[most])?, zeros(&[most])?, 0);
        call(eigenvalues.as_mut_ptr(), weights.as_mut_ptr(), &mut count)?;
        eigenvalues.truncate(count);
        weights.truncate(count);
        Ok(Spectrum { eigenvalues, weights })
    }
}

fn expect_views(pairs: usize, dim: usize, z1: &[f64], z2: &[f64]) -> Result<()> {
    expect_length("z1", z1.len(), &[pairs, dim])?;
    expect_length("z2", z2.len(), &[pairs, dim])
}

/// Estimates at given temperatures, finite and above 0, of any embeddings: `z1` and `z2` are two views, pairs x dim,
/// row-major. Errors: [`Status::Argument`] (another number of values, fewer than 2 pairs, a value that is not finite).
pub fn mutual_information_at(
    context: &Context, positive_temperature: f64, negative_temperature: f64, pairs: usize, dim: usize, z1: &[f64],
    z2: &[f64],
) -> Result<MutualInformation> {
    expect_views(pairs, dim, z1, z2)?;
    MutualInformation::found(|place| unsafe {
        ffi::mio_analysis_mutual_information_at(
            context.raw, positive_temperature, negative_temperature, pairs, dim, z1.as_ptr(), z2.as_ptr(), place,
        )
    })
}

/// The gradient that reaches the weights of a linear projector z = W h + bias, outputs x inputs: the sum over rows of
/// gradient x feature. gradients: dL/dz of every row, of both views, count x outputs; features: h, count x inputs.
/// Errors: [`Status::Argument`] (another number of values, a size of 0).
pub fn projector_gradient(
    context: &Context, count: usize, inputs: usize, outputs: usize, gradients: &[f64], features: &[f64],
) -> Result<Vec<f64>> {
    expect_length("gradients", gradients.len(), &[count, outputs])?;
    expect_length("features", features.len(), &[count, inputs])?;
    let mut weights = zeros(&[outputs, inputs])?;
    check(unsafe {
        ffi::mio_analysis_projector_gradient(
            context.raw, count, inputs, outputs, gradients.as_ptr(), features.as_ptr(), weights.as_mut_ptr(),
        )
    })?;
    Ok(weights)
}

impl Loss {
    /// How one gradient step of this rate on the rows themselves would move every row. `z1`, `z2`: pairs x dim,
    /// row-major, raw projector outputs. For mio, mio_decoupled, nt_xent, dcl, dclw, hcl, supcon, schane and siglip.
    ///
    /// Errors: [`Status::Unsupported`] (another loss), [`Status::Argument`] (a rate that is not finite; as
    /// [`Loss::compute`]), [`Status::State`] (as [`Loss::compute`]).
    pub fn displacements(
        &mut self, pairs: usize, dim: usize, z1: &[f64], z2: &[f64], rate: f64,
    ) -> Result<Displacements> {
        expect_views(pairs, dim, z1, z2)?;
        let mut parts = Displacements {
            attraction: zeros(&[2, pairs, dim])?,
            repulsion: zeros(&[2, pairs, dim])?,
            l2: zeros(&[2, pairs, dim])?,
        };
        let status = unsafe {
            ffi::mio_analysis_displacements(
                self.raw, pairs, dim, z1.as_ptr(), z2.as_ptr(), rate, parts.attraction.as_mut_ptr(),
                parts.repulsion.as_mut_ptr(), parts.l2.as_mut_ptr(),
            )
        };
        self.settle(status)?;
        Ok(parts)
    }

    /// Estimates at the loss's own temperatures, or at 0.5 where it has none, as [`mutual_information_at`].
    pub fn mutual_information(&self, pairs: usize, dim: usize, z1: &[f64], z2: &[f64]) -> Result<MutualInformation> {
        expect_views(pairs, dim, z1, z2)?;
        MutualInformation::found(|place| unsafe {
            ffi::mio_analysis_mutual_information(self.raw, pairs, dim, z1.as_ptr(), z2.as_ptr(), place)
        })
    }

    /// The Hessian by the rows times a direction: how the gradient changes as the raw rows move along it. `z1`, `z2`:
    /// pairs x dim, row-major; direction and result: 2 x pairs x dim, first the rows of `z1`.
    ///
    /// Errors: [`Status::Unsupported`] (byol, dclw, moco, nnclr, simsiam, sogclr; a loss of the caller's own without
    /// double), [`Status::Argument`] (a direction of another size or that is not finite; as [`Loss::compute`]),
    /// [`Status::State`] (as [`Loss::compute`]).
    pub fn hessian_product(
        &mut self, pairs: usize, dim: usize, z1: &[f64], z2: &[f64], direction: &[f64],
    ) -> Result<Vec<f64>> {
        expect_views(pairs, dim, z1, z2)?;
        expect_length("direction", direction.len(), &[2, pairs, dim])?;
        let mut product = zeros(&[2, pairs, dim])?;
        let status = unsafe {
            ffi::mio_analysis_hessian_product(
                self.raw, pairs, dim, z1.as_ptr(), z2.as_ptr(), direction.as_ptr(), product.as_mut_ptr(),
            )
        };
        self.settle(status)?;
        Ok(product)
    }

    /// The spectrum of that Hessian by so many steps. probe: names the random start vector, with the context's seed;
    /// below 2^32. Memory: (steps + 1) x 2 x pairs x dim doubles. Errors: those of [`Loss::hessian_product`];
    /// [`Status::Argument`] (no steps, another probe).
    pub fn hessian_spectrum(
        &mut self, pairs: usize, dim: usize, z1: &[f64], z2: &[f64], steps: usize, probe: u64,
    ) -> Result<Spectrum> {
        expect_views(pairs, dim, z1, z2)?;
        Spectrum::found(steps, z1.len() + z2.len(), |eigenvalues, weights, count| {
            let status = unsafe {
                ffi::mio_analysis_hessian_spectrum(
                    self.raw, pairs, dim, z1.as_ptr(), z2.as_ptr(), steps, probe, eigenvalues, weights, count,
                )
            };
            self.settle(status)
        })
    }
}

impl Encoder {
    /// How many numbers are trained: all trainable tensors, in the order of [`Encoder::tensors`].
    pub fn weight_count(&self) -> usize {
        let mut count = 0;
        unsafe { ffi::mio_analysis_encoder_weights(self.raw, &mut count) };
        count
    }

    fn expect_pairs(&self, pairs: usize, images: &[f32]) -> Result<()> {
        let (channels, height, width) = self.input_shape();
        expect_length("images", images.len(), &[2, pairs, height, width, channels])
    }

    /// The Hessian of the training loss by all weights times a direction, for one fixed batch: central differences of
    /// back-propagated gradients. images: 2 views x pairs x height x width x channels, normalised, as
    /// [`Batch::images`](crate::Batch::images); direction and result: [`Encoder::weight_count`] values. step: the
    /// weights move to either side by step times the length of all weights; 0 takes 1e-4. The encoder is as before, bit
    /// for bit. Of a trainer's encoder load a checkpoint.
    ///
    /// Errors: [`Status::Argument`] (another number of values, an encoder without projections, a step below 0, what is
    /// not finite), and those of [`Loss::hessian_product`].
    pub fn hessian_product(
        &mut self, loss: &mut Loss, pairs: usize, images: &[f32], step: f64, direction: &[f64],
    ) -> Result<Vec<f64>> {
        self.expect_pairs(pairs, images)?;
        let weights = self.weight_count();
        expect_length("direction", direction.len(), &[weights])?;
        let mut product = zeros(&[weights])?;
        let status = unsafe {
            ffi::mio_analysis_encoder_hessian_product(
                self.raw, loss.raw, pairs, images.as_ptr(), step, direction.as_ptr(), product.as_mut_ptr(),
            )
        };
        loss.settle(status)?;
        Ok(product)
    }

    /// The spectrum of that Hessian, as [`Loss::hessian_spectrum`]: each of the steps is two passes forward and back.
    /// Memory: (steps + 1) doubles a weight. Errors: both's; [`Status::Argument`] (an encoder without weights).
    pub fn hessian_spectrum(
        &mut self, loss: &mut Loss, pairs: usize, images: &[f32], step: f64, steps: usize, probe: u64,
    ) -> Result<Spectrum> {
        self.expect_pairs(pairs, images)?;
        Spectrum::found(steps, self.weight_count(), |eigenvalues, weights, count| {
            let status = unsafe {
                ffi::mio_analysis_encoder_hessian_spectrum(
                    self.raw, loss.raw, pairs, images.as_ptr(), step, steps, probe, eigenvalues, weights, count,
                )
            };
            loss.settle(status)
        })
    }
}

//! Image encoders: a builder for convolutional networks, and what a finished one tells and does.

use std::os::raw::c_int;
use std::path::Path;
use std::ptr::null;

use crate::common::{
    c_path, c_text, check, configured, expect_length, make, refuse, released, text_of, zeros, Result, TensorInfo,
};
use crate::context::Context;
use crate::ffi;
#[cfg(doc)]
use crate::common::Status;

// ---- building ----

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

/// A value in a network under construction: channels x height x width of each image.
#[derive(Clone, Copy, Debug)]
pub struct Node(i32);

/// Layers of a network; mistakes surface in [`Builder::finish`].
pub struct Builder {
    raw: *mut ffi::mio_builder,
}

released!(Builder, mio_builder_release);

impl Builder {
    /// For images of height x width pixels with channels values each. Errors: [`Status::Argument`] (an extent of 0).
    pub fn new(context: &Context, channels: usize, height: usize, width: usize) -> Result<Builder> {
        Ok(Builder {
            raw: make(|place| unsafe { ffi::mio_builder_create(context.raw, channels, height, width, place) })?,
        })
    }

    /// Names the next layer's tensors: "layer1.0.conv1" makes "layer1.0.conv1.weight". Before [`Builder::resnet`] and
    /// heads it is a prefix.
    pub fn name(&mut self, name: &str) -> Result<&mut Builder> {
        let name = c_text(name)?;
        unsafe { ffi::mio_builder_name(self.raw, name.as_ptr()) };
        Ok(self)
    }

    /// The images.
    pub fn input(&mut self) -> Node {
        Node(unsafe { ffi::mio_builder_input(self.raw) })
    }

    /// Convolution without bias, square kernel; kernel, stride and padding in pixels.
    pub fn conv2d(&mut self, x: Node, out_channels: usize, kernel: usize, stride: usize, padding: usize) -> Node {
        Node(unsafe { ffi::mio_builder_conv2d(self.raw, x.0, out_channels, kernel, stride, padding) })
    }

    /// Batch normalisation over images and pixels.
    pub fn batch_norm(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_batch_norm(self.raw, x.0) })
    }

    /// max(x, 0).
    pub fn relu(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_relu(self.raw, x.0) })
    }

    /// Maximum over a square window; kernel, stride and padding in pixels.
    pub fn max_pool(&mut self, x: Node, kernel: usize, stride: usize, padding: usize) -> Node {
        Node(unsafe { ffi::mio_builder_max_pool(self.raw, x.0, kernel, stride, padding) })
    }

    /// Mean over all pixels: channels x 1 x 1.
    pub fn global_average_pool(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_global_average_pool(self.raw, x.0) })
    }

    /// Sum of two values of one shape.
    pub fn add(&mut self, left: Node, right: Node) -> Node {
        Node(unsafe { ffi::mio_builder_add(self.raw, left.0, right.0) })
    }

    /// Fully connected layer over a value of channels x 1 x 1.
    pub fn linear(&mut self, x: Node, out_features: usize, bias: bool) -> Node {
        Node(unsafe { ffi::mio_builder_linear(self.raw, x.0, out_features, bias as i32) })
    }

    /// A ResNet of depth 18, 34 or 50, up to global average pooling; base_width is torchvision's 64.
    pub fn resnet(&mut self, x: Node, depth: i32, base_width: usize, stem: Stem) -> Node {
        Node(unsafe { ffi::mio_builder_resnet(self.raw, x.0, depth, base_width, stem as c_int) })
    }

    /// The MIO projector: linear layers without bias, batch norm after each, ReLU after all but the last.
    pub fn projector(&mut self, x: Node, layers: usize, hidden: usize, out: usize) -> Node {
        Node(unsafe { ffi::mio_builder_projector(self.raw, x.0, layers, hidden, out) })
    }

    /// Batch normalisation without weight and bias of its own.
    pub fn batch_norm_plain(&mut self, x: Node) -> Node {
        Node(unsafe { ffi::mio_builder_batch_norm_plain(self.raw, x.0) })
    }

    /// A predictor: like the projector, but the last layer has a bias and no batch norm.
    pub fn predictor(&mut self, x: Node, layers: usize, hidden: usize, out: usize) -> Node {
        Node(unsafe { ffi::mio_builder_predictor(self.raw, x.0, layers, hidden, out) })
    }

    /// Any other head: linear layers with a ReLU after all but the last, before it `hidden_norm`, after the last
    /// `last_norm`.
    pub fn mlp(
        &mut self, x: Node, layers: usize, hidden: usize, out: usize, hidden_norm: Norm, last_norm: Norm,
    ) -> Node {
        Node(unsafe {
            ffi::mio_builder_mlp(self.raw, x.0, layers, hidden, out, hidden_norm as c_int, last_norm as c_int)
        })
    }

    /// The encoder whose features, and projections if there are any, are these values, channels x 1 x 1 each. Errors:
    /// the first mistake; [`Status::Argument`] (a value of another shape).
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

// ---- encoders ----

/// A network that turns images into features.
pub struct Encoder {
    pub(crate) raw: *mut ffi::mio_encoder,
}

released!(Encoder, mio_encoder_release);
configured!(Encoder, mio_encoder_set, mio_encoder_set_text, mio_encoder_get);
// What takes &self is const in C, or embeds: those calls may run beside each other, as the header promises.
unsafe impl Sync for Encoder {}

impl Encoder {
    /// From an encoder's file or a trainer's checkpoint. Errors: [`Status::Io`], [`Status::Format`] (file and offset
    /// are named).
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Encoder> {
        let path = c_path(path.as_ref())?;
        Ok(Encoder { raw: make(|place| unsafe { ffi::mio_encoder_load(context.raw, path.as_ptr(), place) })? })
    }

    /// Writes it to a file, whole or not at all. Errors: [`Status::Io`], [`Status::State`] (a tensor is not finite).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { ffi::mio_encoder_save(self.raw, path.as_ptr()) })
    }

    /// Width of the feature vectors.
    pub fn feature_dim(&self) -> usize {
        let mut dim = 0;
        unsafe { ffi::mio_encoder_feature_dim(self.raw, &mut dim) };
        dim
    }

    /// Width of the projections; 0 without any.
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

    /// Features, count x feature_dim, of count x height x width x channels bytes. Errors: [`Status::Argument`] (another
    /// number of bytes, other channels than the encoder's).
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

    /// What [`Encoder::embed`] takes off and divides by: a mean and a deviation of each channel, of pixels in \[0, 1\];
    /// saved with the encoder. 0 and 1 at first. Errors: [`Status::Argument`] (another number than the encoder's
    /// channels, a value that is not finite, a deviation of 0).
    pub fn set_normalization(&mut self, mean: &[f64], deviation: &[f64]) -> Result<()> {
        expect_length("deviation", deviation.len(), &[mean.len()])?;
        check(unsafe {
            ffi::mio_encoder_set_normalization(self.raw, mean.len(), mean.as_ptr(), deviation.as_ptr())
        })
    }

    /// Mean and deviation of each channel that [`Encoder::embed`] normalises with.
    pub fn normalization(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let channels = self.input_shape().0;
        let (mut mean, mut deviation) = (zeros(&[channels])?, zeros(&[channels])?);
        check(unsafe {
            ffi::mio_encoder_get_normalization(self.raw, channels, mean.as_mut_ptr(), deviation.as_mut_ptr())
        })?;
        Ok((mean, deviation))
    }

    /// All weights and running statistics, in the encoder's order.
    pub fn tensors(&self) -> Result<Vec<TensorInfo>> {
        (0..unsafe { ffi::mio_encoder_tensor_count(self.raw) })
            .map(|index| {
                let mut info = ffi::mio_tensor_info {
                    struct_size: std::mem::size_of::<ffi::mio_tensor_info>(),
                    name: null(),
                    rank: 0,
                    shape: [0; 4],
                    count: 0,
                    trainable: 0,
                };
                check(unsafe { ffi::mio_encoder_tensor(self.raw, index, &mut info) })?;
                let shape = info.shape.iter().take(info.rank).copied().collect();
                Ok(TensorInfo { name: text_of(info.name), shape, trainable: info.trainable != 0 })
            })
            .collect()
    }

    /// Values of a tensor, in PyTorch's layout, as many as its shape multiplied. Errors: [`Status::Argument`] (an
    /// unknown name).
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let text = c_text(name)?;
        let shape = self.tensors()?.into_iter().find(|info| info.name == name).map_or(vec![0], |info| info.shape);
        let mut values = zeros(&shape)?; // none of an unknown tensor, which C refuses
        check(unsafe { ffi::mio_encoder_get_tensor(self.raw, text.as_ptr(), values.len(), values.as_mut_ptr()) })?;
        Ok(values)
    }

    /// Replaces a tensor, in PyTorch's layout. Errors: [`Status::Argument`] (an unknown name, another number of values,
    /// a value that is not finite).
    pub fn set_tensor(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let name = c_text(name)?;
        check(unsafe { ffi::mio_encoder_set_tensor(self.raw, name.as_ptr(), values.len(), values.as_ptr()) })
    }
}

"""libmio from Python: self-supervised image encoders on ordinary CPUs. Arrays are NumPy's.

    import mio, numpy
    context = mio.Context()
    value, grad_z1, grad_z2 = mio.Loss(context, "mio").compute(z1, z2)
    encoder = mio.Encoder.load(context, "encoder.mio")
    features = encoder.embed(images)          # uint8, count x height x width x channels

    images = mio.Dataset.open(context, "flat", "/data/frames")
    trainer = mio.Recipe(context, "mio-small", trainer__epochs=20).build(images)
    trainer.run(lambda report: print(report["step"], report["loss"]))
    trainer.encoder.save("encoder.mio")

Threads: calls on one object wait for each other, but for Encoder.embed and Dataset.embed, which may run at once with each
other and with calls that do not change the encoder. Set a context's parameters while nothing else runs in it.
"""

import ctypes
import operator
import os
from ctypes import c_char_p, c_double, c_int32, c_size_t, c_uint64, c_void_p

import numpy

from ._native import (COMPUTE_CALLBACK, COMPUTE_F64_CALLBACK, STEP_CALLBACK, Batch, Configurable, ConvolutionInfo,
                      DatasetOptions, Error, Handle, LossCallback, MutualInformation, StepReport, TensorInfo, guarded,
                      interruptible, library, names)

__all__ = ["Augment", "Builder", "Context", "Dataset", "Encoder", "Error", "Finetune", "Knn", "Loader", "Loss", "Optimizer",
           "Probe", "Recipe", "Schedule", "Trainer", "augment_names", "loss_names", "mutual_information", "optimizer_names",
           "projector_gradient", "recipe_names", "schedule_names", "version"]


def version():
    """(major, minor, patch) of the C library."""
    number = library().mio_version()
    return number >> 16, number >> 8 & 255, number & 255


def loss_names():
    return names("mio_loss_name_at")


def optimizer_names():
    return names("mio_optimizer_name_at")


def schedule_names():
    return names("mio_schedule_name_at")


def augment_names():
    return names("mio_augment_name_at")


def recipe_names():
    return names("mio_recipe_name_at")


def _array(values, dtype, rank):
    """Contiguous and of this type; whole numbers are taken only as they are: 0.5 is no pixel, and 2^32 no label."""
    given = numpy.asarray(values)
    array = numpy.ascontiguousarray(given, dtype)
    if array.dtype.kind in "iu" and array.dtype != given.dtype and given.size and (
            given.dtype.kind not in "biu" or not numpy.array_equal(array, given)):
        raise TypeError(f"whole numbers that fit {array.dtype} are needed, not these of {given.dtype}")
    if array.ndim != rank:
        raise ValueError(f"an array of {rank} dimensions is needed, this one has shape {array.shape}")
    return array


def _views(z1, z2):
    """Two views of the same images in double."""
    z1, z2 = _array(z1, numpy.float64, 2), _array(z2, numpy.float64, 2)
    if z1.shape != z2.shape:
        raise ValueError(f"z1 is {z1.shape}, z2 is {z2.shape}; they must be alike")
    return z1, z2


def _rows_and_labels(rows, labels):
    rows, labels = _array(rows, numpy.float32, 2), _array(labels, numpy.int32, 1)
    if len(labels) != len(rows):
        raise ValueError(f"there are {len(rows)} features and {len(labels)} labels")
    return rows, labels


def _own_loss(function, dtype):
    """What C calls for a loss in Python."""

    def compute(_, pairs, dim, z1, z2, value, *gradients):
        rows = [numpy.array(numpy.ctypeslib.as_array(z, (pairs, dim))) for z in (z1, z2)]
        value[0], grad_z1, grad_z2 = function(*rows)
        for place, gradient in zip(gradients, (grad_z1, grad_z2)):
            gradient = _array(gradient, dtype, 2)
            if gradient.shape != (pairs, dim):
                raise ValueError(f"a gradient has shape {gradient.shape}, not {(pairs, dim)}")
            if place:
                numpy.ctypeslib.as_array(place, (pairs, dim))[:] = gradient
        return 0

    return guarded(compute)


def _spectrum(function, steps, *arguments):
    """(eigenvalues, weights) of a call that ends with the number of steps, the probe, and the places for both."""
    values, weights, count = numpy.empty(steps), numpy.empty(steps), c_size_t()
    function(*arguments, values, weights, ctypes.byref(count))
    return values[:count.value], weights[:count.value]


def mutual_information(context, z1, z2, positive_temperature=0.5, negative_temperature=0.5):
    """Estimates, in nats, from the cosines of any embeddings: a dict; see mio_mutual_information."""
    z1, z2 = _views(z1, z2)
    found = MutualInformation(struct_size=ctypes.sizeof(MutualInformation))
    library().mio_analysis_mutual_information_at(context, positive_temperature, negative_temperature, *z1.shape,
                                                 z1, z2, ctypes.byref(found))
    return found.as_dict()


def projector_gradient(context, gradients, features):
    """What reaches the weights (out x in) of a linear projector from gradients (count x out) and features (count x in)."""
    gradients, features = _array(gradients, numpy.float64, 2), _array(features, numpy.float64, 2)
    if len(gradients) != len(features):
        raise ValueError(f"there are {len(gradients)} gradients and {len(features)} features")
    weights = numpy.empty((gradients.shape[1], features.shape[1]))
    library().mio_analysis_projector_gradient(context, len(features), features.shape[1], gradients.shape[1],
                                              gradients, features, weights)
    return weights


class Context(Configurable):
    """Memory, threads and the seed; every other object is made from one."""

    _noun = "context"

    def __init__(self, **parameters):
        super().__init__("mio_context_create")
        self.set(**parameters)

    @property
    def target(self):
        return library().mio_context_target(self).decode()


class _Learner(Configurable):
    """What has tensors."""

    def tensors(self):
        """Names of weights, and of an encoder's running statistics, each with its shape; a loss's has a 0 in it until the first
        compute tells dim."""
        shapes = {}
        for index in range(getattr(library(), f"mio_{self._noun}_tensor_count")(self)):
            info = TensorInfo(struct_size=ctypes.sizeof(TensorInfo))
            getattr(library(), f"mio_{self._noun}_tensor")(self, index, ctypes.byref(info))
            shapes[info.name.decode()] = tuple(info.shape[:info.rank])
        return shapes

    def _shape(self, name):
        shapes = self.tensors()
        if name not in shapes:
            raise KeyError(f"there is no tensor {name!r}; there are {', '.join(shapes)}")
        return shapes[name]

    def _read(self, what, name):
        values = numpy.empty(self._shape(name), self._real)
        getattr(library(), f"mio_{self._noun}_get_{what}")(self, name, values.size, values)
        return values

    def tensor(self, name):
        return self._read("tensor", name)

    def gradient(self, name):
        """The gradient of a tensor that the last compute or backward found."""
        return self._read("gradient", name)


class Loss(_Learner):
    _noun, _real = "loss", numpy.float64

    def __init__(self, context, name, **parameters):
        super().__init__("mio_loss_create", context, name)
        self.set(**parameters)

    @classmethod
    def custom(cls, context, name, function):
        """A loss of your own, to be used wherever a loss is: function(z1, z2) returns (value, grad_z1, grad_z2) for
        pairs x dim arrays of float32, and of float64 where the loss is used in double. What it raises comes out of the call
        that led to it."""
        callback = LossCallback(ctypes.sizeof(LossCallback), None, COMPUTE_CALLBACK(_own_loss(function, numpy.float32)),
                                COMPUTE_F64_CALLBACK(_own_loss(function, numpy.float64)))
        made = cls._make("mio_loss_create_custom", context, name, ctypes.byref(callback))
        made._callback = callback
        return made

    def compute(self, z1, z2, gradients=True):
        """(value, grad_z1, grad_z2) of pairs x dim arrays, in double if both are float64, else in float.

        Without gradients just the value."""
        double = all(getattr(z, "dtype", None) == numpy.float64 for z in (z1, z2))
        dtype = numpy.float64 if double else numpy.float32
        z1, z2 = _array(z1, dtype, 2), _array(z2, dtype, 2)
        if z1.shape != z2.shape:
            raise ValueError(f"z1 is {z1.shape}, z2 is {z2.shape}; they must be alike")
        grads = (numpy.empty_like(z1), numpy.empty_like(z2)) if gradients else (None, None)
        value = c_double()
        compute = library().mio_loss_compute_f64 if double else library().mio_loss_compute
        compute(self, *z1.shape, z1, z2, ctypes.byref(value), *grads)
        return (value.value, *grads) if gradients else value.value

    @property
    def name(self):
        return library().mio_loss_name(self).decode()

    def set_batch(self, labels=None, indices=None):
        """Labels and dataset indices of the images to come; without either they are forgotten."""
        labels = None if labels is None else _array(labels, numpy.int32, 1)
        indices = None if indices is None else _array(indices, numpy.uintp, 1)
        if labels is not None and indices is not None and len(labels) != len(indices):
            raise ValueError(f"there are {len(labels)} labels and {len(indices)} indices")
        given = labels if labels is not None else indices
        library().mio_loss_set_batch(self, 0 if given is None else len(given), labels, indices)
        return self

    def set_targets(self, t1=None, t2=None):
        """Constant targets of byol, simsiam, moco, nnclr (pairs x dim); without either they are forgotten."""
        targets = [None if t is None else _array(t, numpy.float64, 2) for t in (t1, t2)]
        shapes = {t.shape for t in targets if t is not None}
        if len(shapes) > 1:
            raise ValueError(f"t1 and t2 must be alike, not {sorted(shapes)}")
        library().mio_loss_set_targets_f64(self, *(shapes.pop() if shapes else (0, 0)), *targets)
        return self

    def set_queue(self, rows):
        """Replaces the queue of moco or nnclr: count x dim, oldest first."""
        rows = _array(rows, numpy.float64, 2)
        library().mio_loss_set_queue_f64(self, *rows.shape, rows)
        return self

    def set_tensor(self, name, values):
        values = numpy.array(values, numpy.float64, order="C")
        library().mio_loss_set_tensor(self, name, values.size, values)

    def displacements(self, z1, z2, rate=1.0):
        """How a step of this rate moves each row: (attraction, repulsion, l2), each 2 x pairs x dim."""
        z1, z2 = _views(z1, z2)
        parts = [numpy.empty((2, *z1.shape)) for _ in range(3)]
        library().mio_analysis_displacements(self, *z1.shape, z1, z2, rate, *parts)
        return tuple(parts)

    def mutual_information(self, z1, z2):
        """As mio.mutual_information, at the loss's own temperatures."""
        z1, z2 = _views(z1, z2)
        found = MutualInformation(struct_size=ctypes.sizeof(MutualInformation))
        library().mio_analysis_mutual_information(self, *z1.shape, z1, z2, ctypes.byref(found))
        return found.as_dict()

    def hessian_product(self, z1, z2, direction):
        """The Hessian by the rows times a direction: 2 x pairs x dim, as the direction."""
        z1, z2 = _views(z1, z2)
        direction = _array(direction, numpy.float64, 3)
        if direction.shape != (2, *z1.shape):
            raise ValueError(f"the direction is {direction.shape}, not {(2, *z1.shape)}")
        product = numpy.empty_like(direction)
        library().mio_analysis_hessian_product(self, *z1.shape, z1, z2, direction, product)
        return product

    def hessian_spectrum(self, z1, z2, steps=30, probe=0):
        """(eigenvalues, weights) of that Hessian by steps of Lanczos's method."""
        z1, z2 = _views(z1, z2)
        return _spectrum(library().mio_analysis_hessian_spectrum, steps, self, *z1.shape, z1, z2, steps, probe)


class Builder(Handle):
    """Layers of a network, by the calls of mio_builder_*; nodes are integers. Errors surface in finish()."""

    _noun = "builder"
    IMAGENET, SMALL, SMALL_UNPADDED = 0, 1, 2
    NORM_NONE, NORM_PLAIN, NORM_AFFINE = 0, 1, 2

    def __init__(self, context, channels, height, width):
        super().__init__("mio_builder_create", context, channels, height, width)

    def name(self, name):
        library().mio_builder_name(self, name)
        return self

    def input(self):
        return library().mio_builder_input(self)

    def conv2d(self, node, out_channels, kernel, stride=1, padding=0):
        return library().mio_builder_conv2d(self, node, out_channels, kernel, stride, padding)

    def batch_norm(self, node):
        return library().mio_builder_batch_norm(self, node)

    def batch_norm_plain(self, node):
        return library().mio_builder_batch_norm_plain(self, node)

    def relu(self, node):
        return library().mio_builder_relu(self, node)

    def max_pool(self, node, kernel, stride, padding=0):
        return library().mio_builder_max_pool(self, node, kernel, stride, padding)

    def global_average_pool(self, node):
        return library().mio_builder_global_average_pool(self, node)

    def add(self, left, right):
        return library().mio_builder_add(self, left, right)

    def linear(self, node, out_features, bias=True):
        return library().mio_builder_linear(self, node, out_features, bias)

    def resnet(self, node, depth=18, base_width=64, stem=SMALL):
        return library().mio_builder_resnet(self, node, depth, base_width, stem)

    def projector(self, node, layers=2, hidden=2048, out=128):
        return library().mio_builder_projector(self, node, layers, hidden, out)

    def predictor(self, node, layers=2, hidden=512, out=128):
        return library().mio_builder_predictor(self, node, layers, hidden, out)

    def mlp(self, node, layers, hidden, out, hidden_norm=NORM_AFFINE, last_norm=NORM_AFFINE):
        return library().mio_builder_mlp(self, node, layers, hidden, out, hidden_norm, last_norm)

    def finish(self, features, projections=-1, predictions=-1):
        return Encoder("mio_builder_finish_with_predictions", self, features, projections, predictions)


class Encoder(_Learner):
    _noun, _real = "encoder", numpy.float32

    @classmethod
    def load(cls, context, path):
        return cls("mio_encoder_load", context, path)

    def save(self, path):
        library().mio_encoder_save(self, path)

    def tune(self, views, count, seconds=10.0):
        """Measures and follows the fastest convolution algorithms for such batches; views 0: for infer and embed."""
        library().mio_encoder_tune(self, views, count, seconds)

    def save_tuning(self, path):
        library().mio_encoder_save_tuning(self, path)

    def load_tuning(self, path):
        library().mio_encoder_load_tuning(self, path)

    def clear_tuning(self):
        library().mio_encoder_clear_tuning(self)

    def convolutions(self, views, count):
        """How such a batch is computed: a list of dicts, one a convolution, as mio_convolution_info has them."""
        found = []
        for index in range(library().mio_encoder_convolution_count(self)):
            info = ConvolutionInfo(struct_size=ctypes.sizeof(ConvolutionInfo))
            library().mio_encoder_convolution(self, views, count, index, ctypes.byref(info))
            values = ((name, getattr(info, name)) for name, _ in info._fields_[1:])
            found.append({name: value.decode() if isinstance(value, bytes) else value for name, value in values})
        return found

    def _size(self, function):
        value = c_size_t()
        getattr(library(), function)(self, ctypes.byref(value))
        return value.value

    @property
    def feature_dim(self):
        return self._size("mio_encoder_feature_dim")

    @property
    def projection_dim(self):
        return self._size("mio_encoder_projection_dim")

    @property
    def prediction_dim(self):
        return self._size("mio_encoder_prediction_dim")

    @property
    def input_shape(self):
        """(channels, height, width)"""
        shape = [c_size_t() for _ in range(3)]
        library().mio_encoder_input_shape(self, *(ctypes.byref(extent) for extent in shape))
        return tuple(extent.value for extent in shape)

    def set_normalization(self, mean, deviation):
        mean, deviation = _array(mean, numpy.float64, 1), _array(deviation, numpy.float64, 1)
        library().mio_encoder_set_normalization(self, len(mean), mean, deviation)

    def normalization(self):
        """(mean, deviation), one value a channel, in units of [0,1] pixels."""
        mean, deviation = numpy.empty((2, self.input_shape[0]))
        library().mio_encoder_get_normalization(self, len(mean), mean, deviation)
        return mean, deviation

    def embed(self, images):
        """Features (count x feature_dim) of uint8 images (count x height x width x channels)."""
        images = _array(images, numpy.uint8, 4)
        features = numpy.empty((images.shape[0], self.feature_dim), numpy.float32)
        library().mio_encoder_embed(self, *images.shape, 0, images, features)
        return features

    def forward(self, images):
        """Training pass on normalised floats, views x count x height x width x channels: (features, projections)."""
        images = _array(images, numpy.float32, 5)
        if images.shape[4:] + images.shape[2:4] != self.input_shape:
            raise ValueError(f"images are {images.shape[2:]}, the encoder takes channels, height, width {self.input_shape}")
        views, count = images.shape[:2]
        features = numpy.empty((views, count, self.feature_dim), numpy.float32)
        projections = numpy.empty((views, count, self.projection_dim), numpy.float32)
        with self._lock:
            library().mio_encoder_forward(self, views, count, images, features,
                                          projections if self.projection_dim else None)
            self._passed = (views, count)
        return features, projections

    def backward(self, grad_projections=None, grad_features=None):
        """Gradients of all weights for the last forward()."""
        with self._lock:
            passed = getattr(self, "_passed", None)
            if passed is None:
                raise ValueError("there is no forward pass to go back over")
            for name, gradient, dim in (("grad_projections", grad_projections, self.projection_dim),
                                        ("grad_features", grad_features, self.feature_dim)):
                if gradient is not None and numpy.shape(gradient) != passed + (dim,):
                    raise ValueError(f"{name} has shape {numpy.shape(gradient)}; the last forward pass made {passed + (dim,)}")
            library().mio_encoder_backward(
                self, *(None if gradient is None else numpy.ascontiguousarray(gradient, numpy.float32)
                                for gradient in (grad_projections, grad_features)))

    @property
    def weight_count(self):
        """How many numbers are trained: the length of hessian_product's directions."""
        return self._size("mio_analysis_encoder_weights")

    def _pairs(self, images):
        images = _array(images, numpy.float32, 5)
        if len(images) != 2 or images.shape[4:] + images.shape[2:4] != self.input_shape:
            raise ValueError(f"images are {images.shape}, not 2 x pairs x height x width x channels of {self.input_shape}")
        return images

    def hessian_product(self, loss, images, direction, step=0.0):
        """The training loss's Hessian by all weights times a direction; images: two views, as forward() takes them."""
        images, direction = self._pairs(images), _array(direction, numpy.float64, 1)
        if len(direction) != self.weight_count:
            raise ValueError(f"the direction has {len(direction)} values, the encoder {self.weight_count} weights")
        product = numpy.empty_like(direction)
        library().mio_analysis_encoder_hessian_product(self, loss, images.shape[1], images, step, direction,
                                                       product)
        return product

    def hessian_spectrum(self, loss, images, steps=12, probe=0, step=0.0):
        """(eigenvalues, weights) of that Hessian by steps of Lanczos's method."""
        images = self._pairs(images)
        return _spectrum(library().mio_analysis_encoder_hessian_spectrum, steps, self, loss,
                         images.shape[1], images, step, steps, probe)

    def set_tensor(self, name, values):
        values = numpy.array(values, numpy.float32, order="C")
        if values.shape != self._shape(name):
            raise ValueError(f"{name} has shape {self._shape(name)}, not {values.shape}")
        library().mio_encoder_set_tensor(self, name, values.size, values)


class Optimizer(Configurable):
    """Steps the tensors of an encoder."""

    _noun = "optimizer"

    def __init__(self, context, name, encoder, **parameters):
        super().__init__("mio_optimizer_create", context, name)
        self.set(**parameters)
        library().mio_optimizer_add_encoder(self, encoder)

    def step(self):
        library().mio_optimizer_step(self)


class Schedule(Configurable):
    """A learning rate as a function of the step."""

    _noun = "schedule"

    def __init__(self, context, name, **parameters):
        super().__init__("mio_schedule_create", context, name)
        self.set(**parameters)

    def at(self, step, steps_per_epoch):
        rate = c_double()
        library().mio_schedule_at(self, step, steps_per_epoch, ctypes.byref(rate))
        return rate.value


class Dataset(Handle):
    _noun = "dataset"

    @classmethod
    def open(cls, context, format, path, split=None, shorter_side=0, channels=0):
        """shorter_side and channels: of folders of images, see mio_dataset_options; 0 takes the default."""
        options = DatasetOptions(ctypes.sizeof(DatasetOptions), shorter_side, channels)
        return cls("mio_dataset_open_with", context, format, path,
                   split, ctypes.byref(options))

    @classmethod
    def from_arrays(cls, context, images, labels=None):
        """Over uint8 images (count x height x width x channels), which are kept, not copied where contiguous."""
        images = _array(images, numpy.uint8, 4)
        labels = None if labels is None else _array(labels, numpy.int32, 1)
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"there are {len(images)} images and {len(labels)} labels")
        made = cls("mio_dataset_from_memory", context, *images.shape, 0, images, labels)
        made._images = images
        return made

    def _part(self, made):
        made._images = getattr(self, "_images", None)  # a part shares its parent's pixels
        return made

    def subset(self, indices):
        """The images at these indices, in this order."""
        indices = _array(indices, numpy.uintp, 1)
        return self._part(Dataset("mio_dataset_subset", self, len(indices), indices))

    def split(self, fraction, seed=0):
        """Two datasets, the first with this fraction of every class."""
        first, second = c_void_p(), c_void_p()
        library().mio_dataset_split(self, fraction, seed, ctypes.byref(first), ctypes.byref(second))
        return self._part(Dataset._adopt(first.value)), self._part(Dataset._adopt(second.value))

    def statistics(self):
        """(mean, deviation) of each channel, of pixels in [0, 1]."""
        mean, deviation = numpy.empty((2, library().mio_dataset_channels(self)))
        library().mio_dataset_statistics(self, len(mean), mean, deviation)
        return mean, deviation

    def __len__(self):
        return library().mio_dataset_count(self)

    @property
    def classes(self):
        return library().mio_dataset_class_count(self)

    def class_name(self, label):
        """None where the dataset has none."""
        name = library().mio_dataset_class_name(self, label)
        return None if name is None else os.fsdecode(name)

    def __getitem__(self, index):
        """An image; counted from the end where negative, as lists are, so that a dataset can be iterated over."""
        at = operator.index(index) + (len(self) if index < 0 else 0)
        if not 0 <= at < len(self):
            raise IndexError(f"there are {len(self)} images, none at {index}")
        return self.image(at)

    def image(self, index):
        height, width = c_size_t(), c_size_t()
        library().mio_dataset_image_size(self, index, ctypes.byref(height), ctypes.byref(width))
        pixels = numpy.empty((height.value, width.value, library().mio_dataset_channels(self)), numpy.uint8)
        library().mio_dataset_image(self, index, pixels.size, pixels)
        return pixels

    def image_name(self, index):
        """The file that an image came from, by its path below the folder or archive that was opened."""
        name = c_char_p()
        library().mio_dataset_image_name(self, index, ctypes.byref(name))
        return os.fsdecode(name.value)

    def labels(self):
        label, found = c_int32(), numpy.empty(len(self), numpy.int32)
        for index in range(len(self)):
            library().mio_dataset_label(self, index, ctypes.byref(label))
            found[index] = label.value
        return found

    def embed(self, encoder):
        """Features of every image: count x feature_dim."""
        features = numpy.empty((len(self), encoder.feature_dim), numpy.float32)
        library().mio_evaluate_embed(encoder, self, features)
        return features


class Augment(Configurable):
    """Random views, height x width x channels, of images of any size."""

    _noun = "augment"

    def __init__(self, context, preset, height, width, channels, **parameters):
        super().__init__("mio_augment_create", context, preset, height, width, channels)
        self.shape = (height, width, channels)
        self.set(**parameters)

    def set_normalization(self, mean, deviation):
        mean, deviation = _array(mean, numpy.float64, 1), _array(deviation, numpy.float64, 1)
        if not len(mean) == len(deviation) == self.shape[2]:
            raise ValueError(f"{self.shape[2]} means and deviations are needed, not {len(mean)} and {len(deviation)}")
        library().mio_augment_set_normalization(self, len(mean), mean, deviation)
        return self

    def apply(self, pixels, seed=0, epoch=0, image=0, view=0):
        """One view of a uint8 image; the four numbers name its random stream."""
        pixels = _array(pixels, numpy.uint8, 3)
        if pixels.shape[2] != self.shape[2]:
            raise ValueError(f"an image of {self.shape[2]} channels is needed, this one has shape {pixels.shape}")
        made = numpy.empty(self.shape, numpy.float32)
        library().mio_augment_apply(self, seed, epoch, image, view, *pixels.shape[:2], 0, pixels, made)
        return made


class Loader(Configurable):
    """Batches of views, epoch after epoch without end: an iterator of dicts."""

    _noun = "loader"

    def __init__(self, dataset, augment, **parameters):
        super().__init__("mio_loader_create", dataset, augment)
        self._dataset, self._shape = dataset, augment.shape
        self.set(**parameters)

    @property
    def steps_per_epoch(self):
        steps = c_uint64()
        library().mio_loader_steps_per_epoch(self, ctypes.byref(steps))
        return steps.value

    def seek(self, epoch, step=0):
        library().mio_loader_seek(self, epoch, step)

    def __iter__(self):
        return self

    def __next__(self):
        """images: views x count x height x width x channels, normalised; labels: -1 where there is none."""
        batch = Batch(struct_size=ctypes.sizeof(Batch))
        with self._lock:  # the next call takes the batch's memory back
            library().mio_loader_next(self, ctypes.byref(batch))
            images = numpy.ctypeslib.as_array(batch.images, (batch.views, batch.count, *self._shape))
            return {"epoch": batch.epoch, "step": batch.step, "images": images.copy(),
                    "indices": numpy.ctypeslib.as_array(batch.indices, (batch.count,)).copy(),
                    "labels": numpy.ctypeslib.as_array(batch.labels, (batch.count,)).copy(),
                    "wait_seconds": batch.wait_seconds}


class Recipe(Configurable):
    """A named, complete set of choices for a run. Parameters of its parts: recipe.set(loss__l2_weight=0)."""

    _noun = "recipe"

    def __init__(self, context, name, **parameters):
        super().__init__("mio_recipe_create", context, name)
        self.set(**parameters)

    def choose(self, part, name):
        library().mio_recipe_choose(self, part, name)
        return self

    def build(self, dataset):
        made = Trainer._make("mio_recipe_build", self, dataset)
        made._parts = (dataset,)
        return made


class Trainer(Configurable):
    """A run, of a recipe or of parts."""

    _noun = "trainer"

    def __init__(self, encoder, loss, optimizer, schedule, loader, **parameters):
        super().__init__("mio_trainer_create", encoder, loss, optimizer, schedule, loader)
        self._parts, self._encoder = (loss, loader), encoder  # which hold what C would not keep alive
        self.set(**parameters)

    def step(self):
        """One optimizer step; a dict of what it did."""
        self.encoder._passed = None
        report = StepReport(struct_size=ctypes.sizeof(StepReport))
        library().mio_trainer_step(self, ctypes.byref(report))
        return report.as_dict()

    def run(self, callback=lambda report: True):
        """Steps to the end. A callback that returns False, or another value that is false but None, stops: Error "cancelled".
        Its exceptions, and the KeyboardInterrupt of Ctrl-C, end the run after a step and come out here."""
        self.encoder._passed = None

        def call(_, report):
            answer = callback(report.contents.as_dict())
            return int(bool(asked) or answer is not None and not answer)

        with interruptible() as asked:
            library().mio_trainer_run(self, STEP_CALLBACK(guarded(call)), None)

    def cancel(self):
        library().mio_trainer_cancel(self)

    def tune(self, seconds=10.0):
        """Encoder.tune for the batches of this trainer's steps; to be called before the first."""
        library().mio_trainer_tune(self, seconds)

    @property
    def encoder(self):
        """The one that is trained: always the same object, which knows the shape of its last forward pass."""
        if not hasattr(self, "_encoder"):
            self._encoder = Encoder._adopt(library().mio_encoder_retain(library().mio_trainer_encoder(self)))
        return self._encoder

    @property
    def steps_done(self):
        return library().mio_trainer_steps_done(self)

    def save(self, path):
        library().mio_trainer_save(self, path)

    def restore(self, path):
        library().mio_trainer_restore(self, path)


class Knn(Configurable):
    """k-nearest neighbours by cosine similarity."""

    _noun = "knn"

    def __init__(self, context, **parameters):
        super().__init__("mio_knn_create", context)
        self.set(**parameters)

    def fit(self, features, labels=None):
        if labels is None:
            features = _array(features, numpy.float32, 2)
        else:
            features, labels = _rows_and_labels(features, labels)
        library().mio_knn_fit(self, *features.shape, features, labels)
        return self

    def predict(self, queries):
        queries = _array(queries, numpy.float32, 2)
        classes = numpy.empty(len(queries), numpy.int32)
        library().mio_knn_predict(self, *queries.shape, queries, classes)
        return classes

    def search(self, queries, neighbours):
        """(indices, cosines), best first: count x neighbours."""
        queries = _array(queries, numpy.float32, 2)
        indices = numpy.empty((len(queries), neighbours), numpy.uintp)
        cosines = numpy.empty((len(queries), neighbours), numpy.float32)
        library().mio_knn_search(self, *queries.shape, queries, neighbours, indices, cosines)
        return indices, cosines


class Probe(Configurable):
    """A linear classifier on frozen features; solver "exact" or "sgd"."""

    _noun = "probe"

    def __init__(self, context, solver="exact", **parameters):
        super().__init__("mio_probe_create", context, solver)
        self.set(**parameters)

    def fit(self, features, labels, validation=None):
        """validation: (features, labels) that choose the epoch ("sgd") or the penalty ("exact" with penalty=0)."""
        features, labels = _rows_and_labels(features, labels)
        classes = int(labels.max(initial=0)) + 1
        fit, given = library().mio_probe_fit, (self, *features.shape, features, labels, classes)
        if validation is not None:
            further, further_labels = _rows_and_labels(*validation)
            if further.shape[1] != features.shape[1]:
                raise ValueError(f"features have {features.shape[1]} dimensions, those of validation {further.shape[1]}")
            fit, given = library().mio_probe_fit_validated, (*given, len(further), further, further_labels)
        with self._lock:
            fit(*given)
            self._classes = classes  # of the fit that predictions come from
        return self

    def _predict(self, features, logits):
        features = _array(features, numpy.float32, 2)
        classes = numpy.empty(len(features), numpy.int32)
        with self._lock:
            logits = numpy.empty((len(features), getattr(self, "_classes", 1)), numpy.float32) if logits else None
            library().mio_probe_predict(self, *features.shape, features, classes, logits)
        return classes, logits

    def predict(self, features):
        return self._predict(features, False)[0]

    def logits(self, features):
        """count x classes; softmax makes probabilities of them."""
        return self._predict(features, True)[1]


class Finetune(Configurable):
    """Trains an encoder and a linear classifier together on labels. It changes the encoder: load that again for another."""

    _noun = "finetune"

    def __init__(self, encoder, **parameters):
        super().__init__("mio_finetune_create", encoder)
        self._encoder = encoder
        self.set(**parameters)

    def run(self, train, augment, validation=None):
        """The epoch with the best loss on validation is kept, without it the last."""
        self._encoder._passed = None
        library().mio_finetune_run(self, train, validation,
                                   augment)
        return self

    def predict(self, dataset):
        """The class of every image of a dataset."""
        classes = numpy.empty(len(dataset), numpy.int32)
        library().mio_finetune_predict(self, dataset, classes)
        return classes

"""The C library through ctypes: signatures, statuses, and the handle that every class stands on."""

import contextlib
import ctypes
import ctypes.util
import operator
import os
import signal
import threading
import types
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import numpy

FLOATS = numpy.ctypeslib.ndpointer(numpy.float32, flags="C_CONTIGUOUS")
DOUBLES = numpy.ctypeslib.ndpointer(numpy.float64, flags="C_CONTIGUOUS")
BYTES = numpy.ctypeslib.ndpointer(numpy.uint8, flags="C_CONTIGUOUS")
LABELS = numpy.ctypeslib.ndpointer(numpy.int32, flags="C_CONTIGUOUS")
INDICES = numpy.ctypeslib.ndpointer(numpy.uintp, flags="C_CONTIGUOUS")

STATUS_NAMES = ["ok", "argument", "memory", "io", "format", "unsupported", "state", "cancelled", "comm", "internal"]


PARAMETER_KINDS = ["real", "integer", "boolean", "choice"]


class Error(RuntimeError):
    """A failed call. `status` is one of STATUS_NAMES; the text names the culprit and the remedy."""

    def __init__(self, status, text):
        super().__init__(status, text)
        self.status = STATUS_NAMES[status] if 0 <= status < len(STATUS_NAMES) else str(status)

    def __str__(self):
        return self.args[1]


class Optional:
    """An array argument that may be None."""

    def __init__(self, array):
        self.array = array

    def from_param(self, value):
        return None if value is None else self.array.from_param(value)


# Arguments that ctypes would take too much of: `raw` is what it gets, take() checks and converts.


class Text:
    """A name or a path, whole: C would end it at a zero byte."""

    raw = c_char_p

    def take(self, value):
        encoded = os.fsencode(value)
        if b"\0" in encoded:
            raise ValueError(f"{value!r} has a zero byte in it")
        return encoded


class Whole:
    """A whole number within bounds, where ctypes would wrap round."""

    def __init__(self, raw, bits, signed=False):
        self.raw, self.least, self.end = raw, -(1 << bits - 1) if signed else 0, 1 << bits - signed

    def take(self, value):
        number = operator.index(value)
        if not self.least <= number < self.end:
            raise ValueError(f"{number} is not in {self.least} .. {self.end - 1}")
        return number


class Of:
    """A handle of one noun: of no other, whose memory C would misread."""

    raw = c_void_p

    def __init__(self, noun):
        self.noun = noun

    def take(self, value):
        if getattr(value, "_noun", None) != self.noun:
            raise TypeError(f"a mio {self.noun} is needed, not {value!r}")
        return value._handle


class OrNone:
    """Any of these, or None."""

    def __init__(self, kind):
        self.kind, self.raw = kind, kind.raw

    def take(self, value):
        return None if value is None else self.kind.take(value)


(CONTEXT, LOSS, BUILDER, ENCODER, OPTIMIZER, SCHEDULE, DATASET, AUGMENT, LOADER, RECIPE, TRAINER, KNN, PROBE, FINETUNE) = map(
    Of, ("context", "loss", "builder", "encoder", "optimizer", "schedule", "dataset", "augment", "loader", "recipe",
         "trainer", "knn", "probe", "finetune"))


class ParameterInfo(ctypes.Structure):
    """mio_parameter_info."""

    _fields_ = [
        ("struct_size", c_size_t), ("name", c_char_p), ("kind", c_int32), ("default_value", c_double),
        ("minimum", c_double), ("maximum", c_double), ("minimum_exclusive", c_int32), ("maximum_exclusive", c_int32),
        ("choice_count", c_size_t), ("choices", POINTER(c_char_p)), ("meaning", c_char_p), ("unit", c_char_p)]


class TensorInfo(ctypes.Structure):
    """mio_tensor_info."""

    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("rank", c_size_t), ("shape", c_size_t * 4),
                ("count", c_size_t), ("trainable", c_int32)]


class ConvolutionInfo(ctypes.Structure):
    """mio_convolution_info."""

    _fields_ = [("struct_size", c_size_t), ("name", c_char_p)] + [
        (name, c_size_t) for name in ("in_channels", "out_channels", "height", "width", "kernel", "stride", "padding")] + [
        (name, c_char_p) for name in ("forward", "data_gradient", "weight_gradient")] + [("tuned", c_int32)]


class DatasetOptions(ctypes.Structure):
    """mio_dataset_options."""

    _fields_ = [("struct_size", c_size_t), ("shorter_side", c_size_t), ("channels", c_size_t)]


class MutualInformation(ctypes.Structure):
    """mio_mutual_information."""

    _fields_ = [("struct_size", c_size_t)] + [
        (name, c_double) for name in ("jensen_shannon", "positive_pairs", "negative_pairs", "info_nce")]

    def as_dict(self):
        return {name: getattr(self, name) for name, _ in self._fields_[1:]}


class StepReport(ctypes.Structure):
    """mio_step_report."""

    _fields_ = [("struct_size", c_size_t)] + [
        (name, c_uint64) for name in ("step", "epoch", "steps_per_epoch", "total_steps")] + [
        (name, c_double) for name in (
            "loss", "learning_rate", "images_per_second", "step_seconds", "wait_seconds", "positive_similarity",
            "negative_similarity", "pair_accuracy", "alignment", "uniformity", "channel_deviation", "effective_rank",
            "mutual_information", "gradient_norm")]

    def as_dict(self):
        return {name: getattr(self, name) for name, _ in self._fields_[1:]}


class Batch(ctypes.Structure):
    """mio_batch."""

    _fields_ = [("struct_size", c_size_t), ("epoch", c_uint64), ("step", c_uint64), ("count", c_size_t),
                ("views", c_size_t), ("images", POINTER(c_float)), ("indices", POINTER(c_size_t)),
                ("labels", POINTER(c_int32)), ("wait_seconds", c_double)]


STEP_CALLBACK = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(StepReport))


def _compute_callback(real):
    rows = POINTER(real)
    return ctypes.CFUNCTYPE(ctypes.c_int, c_void_p, c_size_t, c_size_t, rows, rows, POINTER(c_double), rows, rows)


COMPUTE_CALLBACK, COMPUTE_F64_CALLBACK = _compute_callback(c_float), _compute_callback(c_double)


class LossCallback(ctypes.Structure):
    """mio_loss_callback."""

    _fields_ = [("struct_size", c_size_t), ("user", c_void_p), ("compute", COMPUTE_CALLBACK),
                ("compute_f64", COMPUTE_F64_CALLBACK)]


@contextlib.contextmanager
def interruptible():
    """For a long call that comes back to Python: gives a list that Ctrl-C fills, so that the callback can end the call, and
    raises KeyboardInterrupt when it has. Python alone would raise it between C and the callback, where ctypes drops it."""
    asked = []
    if threading.current_thread() is not threading.main_thread() or (
            signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
        yield asked
        return
    signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield asked
    except Error as error:
        if not asked or error.status != "cancelled":
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt


_raised = threading.local()


def guarded(function):
    """For what C calls: nothing may unwind through C, so the call of C that led here fails, and that raises the exception."""

    def call(*arguments):
        try:
            return function(*arguments)
        except BaseException as exception:
            _raised.exception = exception
            return 1

    return call


_CHECKED = {c_char_p: Text(), c_size_t: Whole(c_size_t, 64), c_uint64: Whole(c_uint64, 64), c_int32: Whole(c_int32, 32, True)}

_library = None


def _find():
    """$MIO_LIBRARY, else the system's libmio.so.0."""
    path = os.environ.get("MIO_LIBRARY")
    if path:
        return path
    return ctypes.util.find_library("mio") or "libmio.so.0"


_OUT = POINTER(c_void_p)
_SIZE = POINTER(c_size_t)
_VALUE = POINTER(c_double)

# name: (result, arguments). "s" as the result is a status, which is checked.
_SIGNATURES = {
    "mio_context_create": ("s", [_OUT]),
    "mio_context_target": (c_char_p, [CONTEXT]),
    "mio_loss_name_at": (c_char_p, [c_size_t]),
    "mio_loss_create": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_loss_create_custom": ("s", [CONTEXT, c_char_p, POINTER(LossCallback), _OUT]),
    "mio_loss_compute": ("s", [LOSS, c_size_t, c_size_t, FLOATS, FLOATS, _VALUE, Optional(FLOATS), Optional(FLOATS)]),
    "mio_loss_compute_f64": ("s", [LOSS, c_size_t, c_size_t, DOUBLES, DOUBLES, _VALUE, Optional(DOUBLES),
                                   Optional(DOUBLES)]),
    "mio_loss_zero_rows": ("s", [LOSS, _SIZE]),
    "mio_loss_name": (c_char_p, [LOSS]),
    "mio_loss_set_batch": ("s", [LOSS, c_size_t, Optional(LABELS), Optional(INDICES)]),
    "mio_loss_set_targets_f64": ("s", [LOSS, c_size_t, c_size_t, Optional(DOUBLES), Optional(DOUBLES)]),
    "mio_loss_set_queue_f64": ("s", [LOSS, c_size_t, c_size_t, DOUBLES]),
    "mio_loss_tensor_count": (c_size_t, [LOSS]),
    "mio_loss_tensor": ("s", [LOSS, c_size_t, POINTER(TensorInfo)]),
    "mio_loss_get_tensor": ("s", [LOSS, c_char_p, c_size_t, DOUBLES]),
    "mio_loss_set_tensor": ("s", [LOSS, c_char_p, c_size_t, DOUBLES]),
    "mio_loss_get_gradient": ("s", [LOSS, c_char_p, c_size_t, DOUBLES]),
    "mio_analysis_displacements": ("s", [LOSS, c_size_t, c_size_t, DOUBLES, DOUBLES, c_double, DOUBLES, DOUBLES,
                                         DOUBLES]),
    "mio_analysis_mutual_information": ("s", [LOSS, c_size_t, c_size_t, DOUBLES, DOUBLES,
                                              POINTER(MutualInformation)]),
    "mio_analysis_mutual_information_at": ("s", [CONTEXT, c_double, c_double, c_size_t, c_size_t, DOUBLES, DOUBLES,
                                                 POINTER(MutualInformation)]),
    "mio_analysis_projector_gradient": ("s", [CONTEXT, c_size_t, c_size_t, c_size_t, DOUBLES, DOUBLES, DOUBLES]),
    "mio_analysis_hessian_product": ("s", [LOSS, c_size_t, c_size_t, DOUBLES, DOUBLES, DOUBLES, DOUBLES]),
    "mio_analysis_hessian_spectrum": ("s", [LOSS, c_size_t, c_size_t, DOUBLES, DOUBLES, c_size_t, c_uint64, DOUBLES,
                                            DOUBLES, _SIZE]),
    "mio_analysis_encoder_weights": ("s", [ENCODER, _SIZE]),
    "mio_analysis_encoder_hessian_product": ("s", [ENCODER, LOSS, c_size_t, FLOATS, c_double, DOUBLES, DOUBLES]),
    "mio_analysis_encoder_hessian_spectrum": ("s", [ENCODER, LOSS, c_size_t, FLOATS, c_double, c_size_t, c_uint64,
                                                    DOUBLES, DOUBLES, _SIZE]),
    "mio_builder_create": ("s", [CONTEXT, c_size_t, c_size_t, c_size_t, _OUT]),
    "mio_builder_name": (None, [BUILDER, c_char_p]),
    "mio_builder_input": (c_int32, [BUILDER]),
    "mio_builder_conv2d": (c_int32, [BUILDER, c_int32, c_size_t, c_size_t, c_size_t, c_size_t]),
    "mio_builder_batch_norm": (c_int32, [BUILDER, c_int32]),
    "mio_builder_relu": (c_int32, [BUILDER, c_int32]),
    "mio_builder_max_pool": (c_int32, [BUILDER, c_int32, c_size_t, c_size_t, c_size_t]),
    "mio_builder_global_average_pool": (c_int32, [BUILDER, c_int32]),
    "mio_builder_add": (c_int32, [BUILDER, c_int32, c_int32]),
    "mio_builder_linear": (c_int32, [BUILDER, c_int32, c_size_t, c_int32]),
    "mio_builder_resnet": (c_int32, [BUILDER, c_int32, c_int32, c_size_t, c_int32]),
    "mio_builder_projector": (c_int32, [BUILDER, c_int32, c_size_t, c_size_t, c_size_t]),
    "mio_builder_batch_norm_plain": (c_int32, [BUILDER, c_int32]),
    "mio_builder_predictor": (c_int32, [BUILDER, c_int32, c_size_t, c_size_t, c_size_t]),
    "mio_builder_mlp": (c_int32, [BUILDER, c_int32, c_size_t, c_size_t, c_size_t, c_int32, c_int32]),
    "mio_builder_finish_with_predictions": ("s", [BUILDER, c_int32, c_int32, c_int32, _OUT]),
    "mio_encoder_load": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_encoder_save": ("s", [ENCODER, c_char_p]),
    "mio_encoder_tune": ("s", [ENCODER, c_size_t, c_size_t, c_double]),
    "mio_encoder_save_tuning": ("s", [ENCODER, c_char_p]),
    "mio_encoder_load_tuning": ("s", [ENCODER, c_char_p]),
    "mio_encoder_clear_tuning": ("s", [ENCODER]),
    "mio_encoder_convolution_count": (c_size_t, [ENCODER]),
    "mio_encoder_convolution": ("s", [ENCODER, c_size_t, c_size_t, c_size_t, POINTER(ConvolutionInfo)]),
    "mio_encoder_feature_dim": ("s", [ENCODER, _SIZE]),
    "mio_encoder_projection_dim": ("s", [ENCODER, _SIZE]),
    "mio_encoder_prediction_dim": ("s", [ENCODER, _SIZE]),
    "mio_encoder_input_shape": ("s", [ENCODER, _SIZE, _SIZE, _SIZE]),
    "mio_encoder_set_normalization": ("s", [ENCODER, c_size_t, DOUBLES, DOUBLES]),
    "mio_encoder_get_normalization": ("s", [ENCODER, c_size_t, DOUBLES, DOUBLES]),
    "mio_encoder_tensor_count": (c_size_t, [ENCODER]),
    "mio_encoder_tensor": ("s", [ENCODER, c_size_t, POINTER(TensorInfo)]),
    "mio_encoder_get_tensor": ("s", [ENCODER, c_char_p, c_size_t, FLOATS]),
    "mio_encoder_set_tensor": ("s", [ENCODER, c_char_p, c_size_t, FLOATS]),
    "mio_encoder_get_gradient": ("s", [ENCODER, c_char_p, c_size_t, FLOATS]),
    "mio_encoder_forward": ("s", [ENCODER, c_size_t, c_size_t, FLOATS, Optional(FLOATS), Optional(FLOATS)]),
    "mio_encoder_backward": ("s", [ENCODER, Optional(FLOATS), Optional(FLOATS)]),
    "mio_encoder_embed": ("s", [ENCODER, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, BYTES, FLOATS]),
    "mio_optimizer_name_at": (c_char_p, [c_size_t]),
    "mio_optimizer_create": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_optimizer_add_encoder": ("s", [OPTIMIZER, ENCODER]),
    "mio_optimizer_step": ("s", [OPTIMIZER]),
    "mio_schedule_name_at": (c_char_p, [c_size_t]),
    "mio_schedule_create": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_schedule_at": ("s", [SCHEDULE, c_uint64, c_uint64, _VALUE]),
    "mio_dataset_open_with": ("s", [CONTEXT, c_char_p, c_char_p, OrNone(Text()), POINTER(DatasetOptions), _OUT]),
    "mio_dataset_from_memory": ("s", [CONTEXT, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, BYTES, Optional(LABELS),
                                      _OUT]),
    "mio_dataset_count": (c_size_t, [DATASET]),
    "mio_dataset_channels": (c_size_t, [DATASET]),
    "mio_dataset_class_count": (c_size_t, [DATASET]),
    "mio_dataset_class_name": (c_char_p, [DATASET, c_size_t]),
    "mio_dataset_image_name": ("s", [DATASET, c_size_t, POINTER(c_char_p)]),
    "mio_dataset_image_size": ("s", [DATASET, c_size_t, _SIZE, _SIZE]),
    "mio_dataset_image": ("s", [DATASET, c_size_t, c_size_t, BYTES]),
    "mio_dataset_label": ("s", [DATASET, c_size_t, POINTER(c_int32)]),
    "mio_dataset_subset": ("s", [DATASET, c_size_t, INDICES, _OUT]),
    "mio_dataset_split": ("s", [DATASET, c_double, c_uint64, _OUT, _OUT]),
    "mio_dataset_statistics": ("s", [DATASET, c_size_t, DOUBLES, DOUBLES]),
    "mio_augment_name_at": (c_char_p, [c_size_t]),
    "mio_augment_create": ("s", [CONTEXT, c_char_p, c_size_t, c_size_t, c_size_t, _OUT]),
    "mio_augment_set_normalization": ("s", [AUGMENT, c_size_t, DOUBLES, DOUBLES]),
    "mio_augment_apply": ("s", [AUGMENT, c_uint64, c_uint64, c_uint64, c_uint64, c_size_t, c_size_t, c_size_t, BYTES,
                                FLOATS]),
    "mio_loader_create": ("s", [DATASET, AUGMENT, _OUT]),
    "mio_loader_steps_per_epoch": ("s", [LOADER, POINTER(c_uint64)]),
    "mio_loader_next": ("s", [LOADER, POINTER(Batch)]),
    "mio_loader_seek": ("s", [LOADER, c_uint64, c_uint64]),
    "mio_recipe_name_at": (c_char_p, [c_size_t]),
    "mio_recipe_create": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_recipe_choose": ("s", [RECIPE, c_char_p, c_char_p]),
    "mio_recipe_build": ("s", [RECIPE, DATASET, _OUT]),
    "mio_trainer_create": ("s", [ENCODER, LOSS, OPTIMIZER, SCHEDULE, LOADER, _OUT]),
    "mio_trainer_step": ("s", [TRAINER, POINTER(StepReport)]),
    "mio_trainer_run": ("s", [TRAINER, STEP_CALLBACK, c_void_p]),
    "mio_trainer_cancel": (None, [TRAINER]),
    "mio_trainer_tune": ("s", [TRAINER, c_double]),
    "mio_trainer_encoder": (c_void_p, [TRAINER]),
    "mio_trainer_steps_done": (c_uint64, [TRAINER]),
    "mio_trainer_save": ("s", [TRAINER, c_char_p]),
    "mio_trainer_restore": ("s", [TRAINER, c_char_p]),
    "mio_encoder_retain": (c_void_p, [c_void_p]),
    "mio_evaluate_embed": ("s", [ENCODER, DATASET, FLOATS]),
    "mio_knn_create": ("s", [CONTEXT, _OUT]),
    "mio_knn_fit": ("s", [KNN, c_size_t, c_size_t, FLOATS, Optional(LABELS)]),
    "mio_knn_predict": ("s", [KNN, c_size_t, c_size_t, FLOATS, LABELS]),
    "mio_knn_search": ("s", [KNN, c_size_t, c_size_t, FLOATS, c_size_t, Optional(INDICES), Optional(FLOATS)]),
    "mio_probe_create": ("s", [CONTEXT, c_char_p, _OUT]),
    "mio_probe_fit": ("s", [PROBE, c_size_t, c_size_t, FLOATS, LABELS, c_size_t]),
    "mio_probe_fit_validated": ("s", [PROBE, c_size_t, c_size_t, FLOATS, LABELS, c_size_t, c_size_t, FLOATS, LABELS]),
    "mio_probe_predict": ("s", [PROBE, c_size_t, c_size_t, FLOATS, LABELS, Optional(FLOATS)]),
    "mio_finetune_create": ("s", [ENCODER, _OUT]),
    "mio_finetune_run": ("s", [FINETUNE, DATASET, OrNone(DATASET), AUGMENT]),
    "mio_finetune_predict": ("s", [FINETUNE, DATASET, LABELS]),
}
_NOUNS = ("context", "loss", "encoder", "optimizer", "schedule", "augment", "loader", "recipe", "trainer", "knn", "probe",
          "finetune")


def _checked(status, function, arguments):
    if status:
        exception = _raised.__dict__.pop("exception", None)
        if exception is not None:
            raise exception
        raise Error(status, library().mio_last_error().decode("utf-8", "replace"))
    return status


# What C allows while another call runs on the object.
_AT_ONCE = {"mio_encoder_embed", "mio_evaluate_embed", "mio_trainer_cancel", "mio_trainer_steps_done", "mio_trainer_encoder"}


def _guard(function, name, kinds):
    """Checks arguments, and lets calls on one object wait for each other: ctypes lets threads run beside a call of C."""
    checks = [(place, kind) for place, kind in enumerate(kinds) if hasattr(kind, "take")]
    alone = name not in _AT_ONCE and kinds and isinstance(kinds[0], Of) and kinds[0] is not CONTEXT

    def call(*arguments):
        given = list(arguments)
        for place, kind in checks:
            given[place] = kind.take(given[place])
        with arguments[0]._lock if alone else contextlib.nullcontext():
            return function(*given)

    return call if checks else function


def library():
    """The loaded C library, with its signatures declared."""
    global _library
    if _library is None:
        try:
            loaded = ctypes.CDLL(_find())
        except OSError as error:
            raise OSError(f"{error}; set MIO_LIBRARY to the path of libmio.so, or install it where ldconfig looks") from None
        loaded.mio_last_error.restype = c_char_p
        loaded.mio_version.restype = c_uint32
        signatures = dict(_SIGNATURES)
        for noun in _NOUNS:
            signatures[f"mio_{noun}_set"] = ("s", [Of(noun), c_char_p, c_double])
            signatures[f"mio_{noun}_set_text"] = ("s", [Of(noun), c_char_p, c_char_p])
            signatures[f"mio_{noun}_get"] = ("s", [Of(noun), c_char_p, _VALUE])
            signatures[f"mio_{noun}_parameter_count"] = (c_size_t, [Of(noun)])
            signatures[f"mio_{noun}_parameter"] = ("s", [Of(noun), c_size_t, POINTER(ParameterInfo)])
        for noun in _NOUNS + ("builder", "dataset"):
            signatures[f"mio_{noun}_release"] = (None, [c_void_p])
        made = types.SimpleNamespace(mio_last_error=loaded.mio_last_error, mio_version=loaded.mio_version)
        for name, (result, arguments) in signatures.items():
            function = getattr(loaded, name)
            kinds = [_CHECKED.get(argument, argument) for argument in arguments]
            function.argtypes = [getattr(kind, "raw", kind) for kind in kinds]
            if result == "s":
                function.restype = ctypes.c_int
                function.errcheck = _checked
            else:
                function.restype = result
            setattr(made, name, _guard(function, name, kinds))
        _library = made
    return _library


class Handle:
    """Owns one reference to a C object and gives it back when it is collected."""

    _noun = ""

    def __init__(self, create=None, *arguments):
        if not isinstance(create, str):
            raise TypeError(f"a mio {self._noun} is not made directly; see what returns one: help(mio)")
        self._lock, self._handle = threading.RLock(), c_void_p()
        getattr(library(), create)(*arguments, ctypes.byref(self._handle))

    @classmethod
    def _make(cls, create, *arguments):
        """An object by another way than its constructor's."""
        made = cls.__new__(cls)
        Handle.__init__(made, create, *arguments)
        return made

    @classmethod
    def _adopt(cls, address):
        made = cls.__new__(cls)
        made._lock, made._handle = threading.RLock(), c_void_p(address)
        return made

    def __repr__(self):
        return f"<mio.{type(self).__name__}>"

    def __reduce_ex__(self, protocol):
        raise TypeError(f"a mio {self._noun} cannot be copied or pickled")

    def __del__(self):
        if getattr(self, "_handle", None):
            getattr(library(), f"mio_{self._noun}_release")(self._handle)
            self._handle = None


class Configurable(Handle):
    """A handle with named parameters."""

    def set(self, **parameters):
        """Sets parameters by name; text chooses by name. A dot in a name is written as two underscores."""
        for name, value in parameters.items():
            setter = "set_text" if isinstance(value, str) else "set"
            getattr(library(), f"mio_{self._noun}_{setter}")(self, name.replace("__", "."), value)
        return self

    def get(self, name):
        value = c_double()
        getattr(library(), f"mio_{self._noun}_get")(self, name.replace("__", "."), ctypes.byref(value))
        return value.value

    def parameters(self):
        """What can be set: a list of dicts with name, kind, default, bounds (and whether they are exclusive), choices, meaning."""
        table = []
        for index in range(getattr(library(), f"mio_{self._noun}_parameter_count")(self)):
            info = ParameterInfo(struct_size=ctypes.sizeof(ParameterInfo))
            getattr(library(), f"mio_{self._noun}_parameter")(self, index, ctypes.byref(info))
            table.append({
                "name": info.name.decode(), "kind": PARAMETER_KINDS[info.kind], "default": info.default_value,
                "minimum": info.minimum, "maximum": info.maximum, "minimum_exclusive": bool(info.minimum_exclusive),
                "maximum_exclusive": bool(info.maximum_exclusive), "choices": [info.choices[i].decode() for i in range(info.choice_count)],
                "meaning": info.meaning.decode(), "unit": info.unit.decode()})
        return table


def names(function):
    """All names that a mio_*_name_at function lists."""
    found = []
    while True:
        name = getattr(library(), function)(len(found))
        if name is None:
            return found
        found.append(name.decode())

"""Formulas shared by the golden-value scripts (numpy only; README.md tells them in prose for C)."""
import gzip
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))

# Streams: the first argument of bits() and uniform().
STREAM_PARAMETER = 0x100000  # + parameter index
STREAM_SKETCH = 0x200000     # + parameter index
STREAM_COLOUR = 0x300000     # + batch number
STREAM_RAMP_X = 0x400000     # + batch number
STREAM_RAMP_Y = 0x500000     # + batch number
STREAM_TEXTURE = 0x600000    # + batch number
STREAM_VIEW = 0x700000       # + 2 * batch number + view (0 or 1)
STREAM_PICTURE = 0x800000    # + picture number
STREAM_ROWS = 0x900000       # loss inputs
STREAM_OPTIMIZER = 0xa00000
STREAM_NOISE = 0xb00000

SKETCH_BUCKETS = 64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def bits(stream, index):
    """64 bits for (stream, index): mix(mix(stream + G) + (index + 1) * G), all modulo 2^64."""
    with np.errstate(over="ignore"):
        index = np.asarray(index, dtype=np.uint64)
        start = _mix(np.array(stream, dtype=np.uint64) + _GOLDEN)
        return _mix(start + (index + np.uint64(1)) * _GOLDEN)


def uniform(stream, index):
    """[0, 1): the upper 53 bits times 2^-53."""
    return (bits(stream, index) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53


def signed(stream, index):
    """[-1, 1): 2 * uniform - 1 (exact)."""
    return 2.0 * uniform(stream, index) - 1.0


def parameter(index, name, shape):
    """Float32 start value of one parameter tensor; index counts parameters in PyTorch's order."""
    count = int(np.prod(shape))
    u = signed(STREAM_PARAMETER + index, np.arange(count))
    if len(shape) > 1:
        value = math.sqrt(6.0 / (count // shape[0])) * u
    elif name.endswith(".weight"):
        # A bottleneck's last batch norm is damped: at full strength 16 such blocks magnify float32's rounding a hundredfold.
        value = (0.125 if name.endswith("bn3.weight") else 1.0) * (1.0 + 0.25 * u)
    else:
        value = 0.125 * u
    return value.astype(np.float32).reshape(shape)


def images(batch, view, count, channels, height, width):
    """Float32 NCHW images: colour, two ramps and a texture shared by both views, plus noise of the view."""
    plane = np.arange(count * channels).reshape(count, channels, 1, 1)
    pixel = np.arange(count * channels * height * width).reshape(count, channels, height, width)
    fx = (2.0 * np.arange(width) + 1.0) / width - 1.0
    fy = ((2.0 * np.arange(height) + 1.0) / height - 1.0)[:, None]
    value = (signed(STREAM_COLOUR + batch, plane)
             + signed(STREAM_RAMP_X + batch, plane) * fx
             + signed(STREAM_RAMP_Y + batch, plane) * fy
             + signed(STREAM_TEXTURE + batch, pixel)
             + 0.5 * signed(STREAM_VIEW + 2 * batch + view, pixel))
    return value.astype(np.float32)


def sketch(index, values):
    """Count-sketch of a tensor (flattened in PyTorch's order) into 64 buckets."""
    values = np.asarray(values, dtype=np.float64).reshape(-1)
    h = bits(STREAM_SKETCH + index, np.arange(values.size))
    bucket = (h & np.uint64(SKETCH_BUCKETS - 1)).astype(np.int64)
    sign = 1.0 - 2.0 * ((h >> np.uint64(6)) & np.uint64(1)).astype(np.float64)
    return np.bincount(bucket, weights=sign * values, minlength=SKETCH_BUCKETS)


def picture(number, channels, height, width):
    """A uint8 picture, HWC: noise with grey and saturated pixels strewn in."""
    h = bits(STREAM_PICTURE + number, np.arange(height * width))
    rgb = np.stack([(h >> np.uint64(8 * c)) & np.uint64(255) for c in range(3)], axis=1).astype(np.int64)
    kind = (h >> np.uint64(24)) & np.uint64(7)
    rgb[kind == 0] = rgb[kind == 0][:, :1]
    rgb[kind == 1] = np.where(rgb[kind == 1] >= 128, 255, 0)
    return rgb.reshape(height, width, 3)[:, :, :channels].astype(np.uint8)


class Writer:
    """Writes records `name count v v ...`; names ending in .gz are gzipped reproducibly."""

    def __init__(self, name):
        self.name = name
        self.parts = []

    def comment(self, text):
        for line in text.strip("\n").split("\n"):
            self.parts.append(("# " + line).rstrip())

    def record(self, name, values, form="%.17g"):
        assert " " not in name and name
        if not isinstance(values, np.ndarray):
            values = np.asarray(values, dtype=np.float64)
        flat = values.reshape(-1)
        assert np.all(np.isfinite(flat)), name
        self.parts.append(" ".join([name, str(flat.size)] + [form % v for v in flat]))

    def float32(self, name, values):
        self.record(name, values, "%.9g")

    def close(self):
        data = ("\n".join(self.parts) + "\n").encode("ascii")
        path = os.path.join(HERE, self.name)
        if self.name.endswith(".gz"):
            with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
                packed.write(data)
        else:
            with open(path, "wb") as raw:
                raw.write(data)
        print("%s: %d records, %d bytes raw, %d on disk"
              % (self.name, sum(1 for p in self.parts if p[0] != "#"), len(data), os.path.getsize(path)))


def read(name):
    """Reads a golden file back into a dict of float64 arrays."""
    path = os.path.join(HERE, name)
    with (gzip.open if name.endswith(".gz") else open)(path, "rt") as lines:
        records = [line.split() for line in lines if not line.startswith("#")]
    return {r[0]: np.array([float(v) for v in r[2:]]) for r in records if len(r) == 2 + int(r[1])}

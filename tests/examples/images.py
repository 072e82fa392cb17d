"""Small made-up datasets on disk: gratings whose angle is their class, as IDX files and as a folder of PNG images."""
import math
import pathlib
import random
import struct
import zlib

SIDE = 16
CLASSES = 4


def grating(generator, label):
    """SIDE x SIDE grey bytes."""
    angle = math.pi * (label + 0.5 * generator.random()) / CLASSES
    phase = 2 * math.pi * generator.random()
    return bytes(
        int(127.5 + 90 * math.sin(0.9 * (x * math.cos(angle) + y * math.sin(angle)) + phase) + 30 * generator.random())
        for y in range(SIDE) for x in range(SIDE))


def write_idx(folder, seed=1, train=400, test=120):
    """The four files of MNIST's format."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    for name, count in (("train", train), ("t10k", test)):
        labels = bytes(i % CLASSES for i in range(count))
        pixels = b"".join(grating(generator, label) for label in labels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, count, SIDE, SIDE) + pixels)


def png(pixels):
    """A grey PNG of SIDE x SIDE bytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + pixels[y * SIDE:(y + 1) * SIDE] for y in range(SIDE))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_classes(folder, classes, seed=3, count=12):
    """PNG images of the given classes, each in the folder of its letter."""
    generator = random.Random(seed)
    for label in classes:
        place = pathlib.Path(folder) / "abcd"[label]
        place.mkdir(parents=True)
        for i in range(count):
            (place / f"{i}.png").write_bytes(png(grating(generator, label)))


def write_folder(folder, seed=2, count=24):
    """PNG images, some in a sub-folder; returns their names in the library's order."""
    folder = pathlib.Path(folder)
    generator = random.Random(seed)
    names = sorted(f"{place}image{i:02}.png" for place in ("", "more/") for i in range(count // 2))
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(grating(generator, i % CLASSES)))
    (folder / "more" / "back").symlink_to(folder.resolve())
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image\n")
    return names

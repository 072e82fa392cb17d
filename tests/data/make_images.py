#!/usr/bin/env python3
"""Writes images/*, small files of every kind that the folder reader takes or refuses, and images/expected.txt: what PIL
decodes them to. Needs python3-pil. Kinds that PIL cannot write (16-bit RGB, interlaced) are put together here."""
import io, pathlib, struct, zlib
from PIL import Image

OUT = pathlib.Path(__file__).with_name("images")
W, H = 13, 9


def pixel(x, y):
    return (x * 19) % 256, (y * 27 + 10) % 256, (x * y * 2 + 60) % 256


def picture(mode, width=W, height=H):
    image = Image.new("RGB", (width, height))
    image.putdata([pixel(x, y) for y in range(height) for x in range(width)])
    return image.convert(mode)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, interlace, raw):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def rgb16():
    raw = b""
    for y in range(H):
        for x in range(W):
            raw += (b"" if x else b"\0") + struct.pack(">HHH", *(min(c, 254) * 257 + 90 for c in pixel(x, y)))
    return png(W, H, 16, 2, 0, raw)


def interlaced():
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, H, dy):
            row = b"".join(bytes(pixel(x, y)) for x in range(x0, W, dx))
            raw += (b"\0" + row) if row else b""
    return png(W, H, 8, 2, 1, raw)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_alpha(mode):
    image = picture(mode[:-1])
    image.putalpha(Image.frombytes("L", (W, H), bytes((i * 7) % 256 for i in range(W * H))))
    return image


palette = picture("RGB").quantize(16)
files = {
    "rgb420.jpg": saved(picture("RGB"), "JPEG", quality=90),
    "rgb444.JPG": saved(picture("RGB"), "JPEG", quality=75, subsampling=0),
    "progressive.jpeg": saved(picture("RGB"), "JPEG", quality=60, progressive=True),
    "grey.jpg": saved(picture("L"), "JPEG", quality=80),
    "rgb.png": saved(picture("RGB"), "PNG"),
    "grey.png": saved(picture("L"), "PNG"),
    "grey1.PNG": saved(picture("1"), "PNG"),
    "rgba.png": saved(with_alpha("RGBA"), "PNG"),
    "grey_alpha.png": saved(with_alpha("LA"), "PNG"),
    "palette.png": saved(palette, "PNG"),
    "palette_transparent.png": saved(palette, "PNG", transparency=3),
    "rgb16.png": rgb16(),
    "interlaced.png": interlaced(),
}
# Not in expected.txt: refused; and one that is large enough to be scaled in its DCT.
smooth = Image.new("RGB", (64, 48))
smooth.putdata([(x * 4, y * 5, (x + y) * 2) for y in range(48) for x in range(64)])
others = {"cmyk.jpg": saved(picture("CMYK"), "JPEG"), "smooth.jpg": saved(smooth, "JPEG", quality=85)}

OUT.mkdir(exist_ok=True)
with open(OUT / "expected.txt", "w") as out:
    out.write("# made by make_images.py: name height width channels, then the pixels row by row\n")
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        image = Image.open(io.BytesIO(data))
        if name == "rgb16.png":  # PIL cuts the low byte off; rounded to the nearest it is what rgb16() began with
            image = picture("RGB").point(lambda v: min(v, 254))
        image = image.convert("L" if name.startswith("grey") else "RGB")
        values = " ".join(str(v) for v in image.tobytes())
        out.write(f"{name} {H} {W} {len(image.getbands())} {values}\n")
for name, data in others.items():
    (OUT / name).write_bytes(data)

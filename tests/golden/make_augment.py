"""Writes augment.txt.gz: torchvision's float tensor operations on small pictures.

Run:  /usr/bin/python3 make_augment.py
Needs numpy, PyTorch and torchvision (made with torch 1.13 and torchvision 0.14).
"""
import numpy as np
import torch
import torchvision
import torchvision.transforms.functional as T

import formula

torch.set_num_threads(1)

HEADER = """
torchvision %s, float32 tensor path. Record: operation:picture:channels:height:width:arguments count values.
The input is the picture of README.md (uint8) divided by 255 in float32; values are the output, CHW.
""" % torchvision.__version__.split("a")[0].split("+")[0]


def main():
    out = formula.Writer("augment.txt.gz")
    out.comment(HEADER)

    def add(operation, number, channels, size, arguments, function):
        picture = formula.picture(number, channels, size[0], size[1])
        image = torch.from_numpy(picture.transpose(2, 0, 1).copy()).to(torch.float32).div(255)
        name = ":".join([operation] + ["%d" % v for v in (number, channels) + size] + ["%g" % v for v in arguments])
        out.float32(name, function(image, *arguments).numpy())

    def crop(image, top, left, height, width, out_height, out_width):
        return T.resized_crop(image, top, left, height, width, [out_height, out_width])

    crops = [(0, 0, 11, 13, 11, 13), (1, 2, 9, 8, 11, 13), (0, 0, 11, 13, 6, 5), (2, 1, 7, 11, 16, 16),
             (3, 4, 1, 1, 4, 5), (10, 12, 1, 1, 3, 3), (4, 0, 1, 13, 5, 7), (0, 6, 11, 1, 7, 5),
             (5, 5, 2, 3, 1, 1), (2, 3, 5, 6, 1, 9), (0, 0, 10, 10, 5, 5), (1, 1, 3, 3, 9, 9)]
    for arguments in crops:
        add("resized_crop", 0, 3, (11, 13), arguments, crop)
    for arguments in crops[:4]:
        add("resized_crop", 1, 1, (11, 13), arguments, crop)
    for arguments in ((0, 0, 32, 32, 32, 32), (2, 1, 29, 30, 32, 32)):
        add("resized_crop", 2, 3, (32, 32), arguments, crop)
    for channels in (1, 3):
        add("hflip", 3, channels, (7, 6), (), T.hflip)
        add("hflip", 3, channels, (7, 5), (), T.hflip)
        for factor in (0, 0.6, 0.9, 1, 1.4, 2):
            add("brightness", 4, channels, (9, 8), (factor,), T.adjust_brightness)
            add("contrast", 5, channels, (9, 8), (factor,), T.adjust_contrast)
        for sigma in (0.1, 0.8, 2):
            add("gaussian_blur", 6, channels, (11, 13), (3, sigma), T.gaussian_blur)
            add("gaussian_blur", 6, channels, (11, 13), (9, sigma), T.gaussian_blur)
        add("gaussian_blur", 6, channels, (5, 6), (9, 1.5), T.gaussian_blur)
        add("solarize", 7, channels, (9, 8), (0.5,), T.solarize)
        add("solarize", 7, channels, (9, 8), (0.25,), T.solarize)
    for factor in (0, 0.6, 0.9, 1, 1.4, 2):
        add("saturation", 8, 3, (9, 8), (factor,), T.adjust_saturation)
    for factor in (-0.5, -0.1, -0.03, 0, 0.1, 0.25, 0.5):
        add("hue", 9, 3, (9, 8), (factor,), T.adjust_hue)
    add("gray", 10, 3, (9, 8), (), lambda image: T.rgb_to_grayscale(image, num_output_channels=3))
    for height, width in ((6, 5), (4, 13), (16, 20), (11, 7), (3, 3)):
        for channels in (1, 3):
            add("resize_antialias", 11, channels, (11, 13), (height, width),
                lambda image, h, w: T.resize(image, [h, w], antialias=True))

    def views(image, top, left, height, width, size, flip, brightness, contrast, saturation, hue):
        """Crop, flip, then the colour operations in the order hue, contrast, brightness, saturation; blur; solarize."""
        image = crop(image, top, left, height, width, size, size)
        if flip:
            image = T.hflip(image)
        image = T.adjust_contrast(T.adjust_hue(image, hue), contrast)
        image = T.adjust_saturation(T.adjust_brightness(image, brightness), saturation)
        return T.solarize(T.gaussian_blur(image, 3, 0.7), 0.5)

    add("pipeline", 12, 3, (12, 12), (1, 0, 10, 11, 12, 1, 1.25, 0.75, 1.3, -0.08), views)
    add("pipeline", 13, 3, (12, 12), (0, 1, 12, 10, 12, 0, 0.7, 1.35, 0.65, 0.06), views)
    out.close()


if __name__ == "__main__":
    main()

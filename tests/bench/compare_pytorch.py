"""Times PyTorch on the work that libmio does, for side-by-side comparison. Needs PyTorch (and torchvision for augment).

  compare_pytorch.py step    [--width 16 --batch 256 --threads 2 --channels-last --bf16 ...]
  compare_pytorch.py step --all        every combination of channels-last and bf16
  compare_pytorch.py augment [--path tensor|pil --batch 256 --size 32]

step is one full training step: two views through a ResNet-18 with the small stem and a two-layer projector, the mio loss
in matrix form, backward, SGD with Nesterov momentum. augment is one view of a batch through the authors' pipeline,
image by image on one core, as a data-loader worker does it. Both print one JSON line with the minimum and the median.

With --pause nothing is timed until asked: the script warms up, prints "ready", and for every line "go" on its input runs
one timed step and prints its milliseconds; any other line or the end of input ends it. So a driver can alternate its own
steps with these, step by step, on the same cores.
"""
import argparse
import contextlib
import json
import os
import statistics
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import model  # noqa: E402


def make_step(options, channels_last, bf16):
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = model.Net(options.depth, options.width, model.SMALL, 2, options.hidden, options.out).train()
    net = net.to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, foreach=True)
    shape = (options.batch, 3, options.size, options.size)
    views = [torch.randn(shape).contiguous(memory_format=layout) for _ in range(2)]

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext():
            z = [net(view)[1] for view in views]
        model.mio(z[0].float(), z[1].float()).backward()
        optimizer.step()
    return step


def make_augment(options):
    from torchvision import transforms
    torch.set_num_threads(1)
    torch.manual_seed(1)
    size = options.size
    pixels = torch.randint(0, 256, (options.batch, 3, size, size), dtype=torch.uint8)
    parts = [transforms.RandomHorizontalFlip(0.5),
             transforms.RandomResizedCrop(size, scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3)),
             transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
             transforms.RandomGrayscale(0.2)]
    if size > 32:
        blur = transforms.GaussianBlur(size // 10 | 1, (0.1, 2.0))
        parts += [transforms.RandomApply([blur], 0.5),
                  transforms.RandomSolarize(0.5 if options.path == "tensor" else 128, 0.2)]
    if options.path == "pil":
        images = [transforms.functional.to_pil_image(image) for image in pixels]
        parts.append(transforms.ToTensor())
    else:
        images = list(pixels)
        parts.insert(0, transforms.ConvertImageDtype(torch.float32))
    parts.append(transforms.Normalize((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)))
    view = transforms.Compose(parts)

    def step():
        with torch.no_grad():
            return torch.stack([view(image) for image in images])
    return step


def timed(step):
    begin = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - begin)


def measure(step, options, about):
    for _ in range(options.warm_up):
        step()
    if options.pause:
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() != "go":
                break
            print("%.3f" % timed(step), flush=True)
        return
    times = [timed(step) for _ in range(options.steps)]
    about.update(min_ms=round(min(times), 3), median_ms=round(statistics.median(times), 3), steps=options.steps,
                 torch=torch.__version__)
    print(json.dumps(about), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("step", "augment"))
    parser.add_argument("--depth", type=int, default=18, choices=(18, 34, 50))
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--out", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--path", choices=("tensor", "pil"), default="tensor")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--pause", action="store_true")
    options = parser.parse_args()
    if options.all and options.pause:
        parser.error("--all and --pause exclude each other")
    if options.work == "augment":
        measure(make_augment(options), options, {"work": "augment", "path": options.path, "batch": options.batch,
                                                 "size": options.size})
        return
    modes = [(c, b) for c in (False, True) for b in (False, True)] if options.all else [(options.channels_last, options.bf16)]
    for channels_last, bf16 in modes:
        about = {"work": "step", "depth": options.depth, "width": options.width, "batch": options.batch,
                 "size": options.size, "threads": options.threads, "channels_last": channels_last, "bf16": bf16}
        measure(make_step(options, channels_last, bf16), options, about)


if __name__ == "__main__":
    main()

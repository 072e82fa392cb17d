"""Times PyTorch on the work that libmio does, for side-by-side comparison. Needs PyTorch (and torchvision for augment, epoch).

  compare_pytorch.py step    [--width 64 --batch 64 --threads 2 --channels-last --bf16 --compile ...]
  compare_pytorch.py step --all        every combination of channels-last and bf16
  compare_pytorch.py loss    [--name mio --pairs 1024 --dim 128 --form matrix|blocks|closed]
  compare_pytorch.py augment [--path tensor|pil --batch 256 --size 32]
  compare_pytorch.py embed   [--batch 1 --engine eager|jit|compile --channels-last --bf16]
  compare_pytorch.py knn     [--bank 50000 --queries 10000 --dim 512 --k 200 --chunk 1000]
  compare_pytorch.py epoch   [--images 2560 --batch 128 --workers 1 --path pil|tensor]
  compare_pytorch.py conv    [--width 64 --batch 64 --channels-last --bf16]
  compare_pytorch.py export  --file NAME.pt or NAME.onnx: an encoder for start-up times and for ONNX Runtime

step is one full training step: two views through a ResNet with the small stem and a two-layer projector, the mio loss in
matrix form, backward, SGD with Nesterov momentum. loss is the value and gradients of one of pytorch_losses.py; of mio
through autograd on the matrix of all pairs, on its three distinct blocks, or by the closed form without autograd. augment is
one view of a batch through the authors' pipeline, image by image on one core, as a data-loader worker does it. epoch is steps on batches from a DataLoader
with that pipeline. conv is each pass of each kind of convolution in a ResNet-18. pace.py tells what is printed.
"""
import argparse
import contextlib
import os
import sys

import torch
import torch.nn.functional as F

import pace
import pytorch_losses

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import model  # noqa: E402


def layout_of(options):
    return torch.channels_last if options.channels_last else torch.contiguous_format


def make_training(options):
    """A function from two views to a finished step."""
    net = model.Net(options.depth, options.width, model.SMALL, 2, options.hidden, options.out).train()
    net = net.to(memory_format=layout_of(options))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, foreach=True)
    forward = torch.compile(net) if options.compile else net

    def train(views):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16) if options.bf16 else contextlib.nullcontext():
            z = [forward(view)[1] for view in views]
        model.mio(z[0].float(), z[1].float()).backward()
        optimizer.step()
    return train


def make_step(options):
    train = make_training(options)
    shape = (options.batch, 3, options.size, options.size)
    views = [torch.randn(shape).contiguous(memory_format=layout_of(options)) for _ in range(2)]
    return lambda: train(views)


def make_loss(options):
    views = [view.clone().requires_grad_() for view in torch.randn(2, options.pairs, options.dim)]
    both = torch.cat([view.detach() for view in views])
    function, learnt = pytorch_losses.LOSSES[options.name](options.pairs, options.dim)
    function = pytorch_losses.mio_blocks if options.form == "blocks" else function

    def automatic():
        for tensor in (*views, *learnt):
            tensor.grad = None
        function(*views).backward()

    def closed():
        with torch.no_grad():
            pytorch_losses.mio_closed(both)
    return closed if options.form == "closed" else automatic


def make_view(options):
    """The authors' pipeline as a function from what make_images gives to a float tensor."""
    from torchvision import transforms
    size = options.size
    parts = [transforms.RandomHorizontalFlip(0.5),
             transforms.RandomResizedCrop(size, scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3)),
             transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
             transforms.RandomGrayscale(0.2)]
    if size > 32:
        blur = transforms.GaussianBlur(size // 10 | 1, (0.1, 2.0))
        parts += [transforms.RandomApply([blur], 0.5),
                  transforms.RandomSolarize(0.5 if options.path == "tensor" else 128, 0.2)]
    if options.path == "pil":
        parts.append(transforms.ToTensor())
    else:
        parts.insert(0, transforms.ConvertImageDtype(torch.float32))
    parts.append(transforms.Normalize((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)))
    return transforms.Compose(parts)


def make_images(options, count):
    from torchvision import transforms
    pixels = torch.randint(0, 256, (count, 3, options.size, options.size), dtype=torch.uint8)
    return [transforms.functional.to_pil_image(image) for image in pixels] if options.path == "pil" else list(pixels)


def make_augment(options):
    torch.set_num_threads(1)
    view, images = make_view(options), make_images(options, options.batch)

    def step():
        with torch.no_grad():
            return torch.stack([view(image) for image in images])
    return step


class Views(torch.utils.data.Dataset):
    def __init__(self, options):
        self.view, self.images = make_view(options), make_images(options, options.images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.view(self.images[index]), self.view(self.images[index])


def make_epoch(options):
    train = make_training(options)
    loader = torch.utils.data.DataLoader(Views(options), batch_size=options.batch, shuffle=True, drop_last=True,
                                         num_workers=options.workers, persistent_workers=options.workers > 0)

    def step():
        for views in loader:
            train([view.contiguous(memory_format=layout_of(options)) for view in views])
    return step


class Features(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.encoder = model.ResNet(options.depth, options.width, model.SMALL)

    def forward(self, x):
        return self.encoder(x)


def make_embed(options):
    kind = torch.bfloat16 if options.bf16 else torch.float32
    net = Features(options).eval().to(kind).to(memory_format=layout_of(options))
    images = torch.randn(options.batch, 3, options.size, options.size, dtype=kind)
    images = images.contiguous(memory_format=layout_of(options))
    with torch.no_grad():
        if options.engine == "jit":
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, images)))
        elif options.engine == "compile":
            net = torch.compile(net)

    def step():
        with torch.inference_mode() if options.engine == "eager" else torch.no_grad():
            return net(images)
    return step


def make_knn(options):
    bank = F.normalize(torch.randn(options.bank, options.dim))
    queries = torch.randn(options.queries, options.dim)

    def step():
        with torch.no_grad():
            return [(F.normalize(part) @ bank.T).topk(options.k) for part in queries.split(options.chunk)]
    return step


def conv_cases(options):
    """bench_conv.c has the same layers."""
    kind = torch.bfloat16 if options.bf16 else torch.float32
    cases = {}
    for inputs, outputs, extent, kernel, stride in ((1, 1, 32, 3, 1), (2, 2, 16, 3, 1), (4, 4, 8, 3, 1), (8, 8, 4, 3, 1),
                                                    (1, 2, 32, 3, 2), (2, 4, 16, 3, 2), (4, 8, 8, 3, 2),
                                                    (1, 2, 32, 1, 2), (2, 4, 16, 1, 2), (4, 8, 8, 1, 2)):
        inputs, outputs, padding = inputs * options.width, outputs * options.width, kernel // 2
        x = torch.randn(options.batch, inputs, extent, extent).to(kind).contiguous(memory_format=layout_of(options))
        w = torch.randn(outputs, inputs, kernel, kernel).to(kind).contiguous(memory_format=layout_of(options))
        y = F.conv2d(x, w, None, stride, padding)
        dy = torch.randn(y.shape).to(kind).contiguous(memory_format=layout_of(options))

        def backward(which, x=x, w=w, dy=dy, stride=stride, padding=padding):
            return torch.ops.aten.convolution_backward(dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1,
                                                       which)
        label = "%d-%d,%dx%d,k%ds%d," % (inputs, outputs, extent, extent, kernel, stride)
        cases[label + "forward"] = lambda x=x, w=w, s=stride, p=padding: F.conv2d(x, w, None, s, p)
        cases[label + "data"] = lambda backward=backward: backward([True, False, False])
        cases[label + "weights"] = lambda backward=backward: backward([False, True, False])
    return cases


def export(options):
    net, images = Features(options).eval(), torch.randn(1, 3, options.size, options.size)
    with torch.no_grad():
        if options.file.endswith(".onnx"):
            torch.onnx.export(net, images, options.file, input_names=["images"], output_names=["features"],
                              dynamic_axes={"images": {0: "count"}, "features": {0: "count"}})
        else:
            torch.jit.save(torch.jit.freeze(torch.jit.trace(net, images)), options.file)


MAKERS = {"step": make_step, "loss": make_loss, "augment": make_augment, "embed": make_embed, "knn": make_knn,
          "epoch": make_epoch}
BATCHES = {"step": 64, "augment": 256, "embed": 1, "epoch": 128, "conv": 64}


def options_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=(*MAKERS, "conv", "export"))
    for name, value in (("depth", 18), ("width", 64), ("batch", 0), ("size", 32), ("hidden", 2048), ("out", 128),
                        ("threads", 2), ("pairs", 1024), ("dim", 0), ("bank", 50000), ("queries", 10000), ("k", 200),
                        ("chunk", 1000), ("images", 2560), ("workers", 0)):
        parser.add_argument("--" + name, type=int, default=value)
    for name in ("channels-last", "bf16", "compile", "all"):
        parser.add_argument("--" + name, action="store_true")
    parser.add_argument("--path", choices=("tensor", "pil"), default="tensor")
    parser.add_argument("--name", choices=tuple(pytorch_losses.LOSSES), default="mio")
    parser.add_argument("--form", choices=("matrix", "blocks", "closed"), default="matrix")
    parser.add_argument("--engine", choices=("eager", "jit", "compile"), default="eager")
    parser.add_argument("--file")
    pace.add_options(parser)
    options = parser.parse_args()
    if options.all and options.pause:
        parser.error("--all and --pause exclude each other")
    if options.name != "mio" and options.form != "matrix":
        parser.error("--form is mio's alone")
    options.batch = options.batch or BATCHES.get(options.work, 0)
    options.dim = options.dim or (512 if options.work == "knn" else 128)
    return options


def main():
    options = options_of()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    if options.work == "export":
        export(options)
        return
    modes = [(options.channels_last, options.bf16)]
    if options.all:
        modes = [(c, b) for c in (False, True) for b in (False, True)]
    for options.channels_last, options.bf16 in modes:
        cases = conv_cases(options) if options.work == "conv" else {options.work: MAKERS[options.work](options)}
        pace.measure(cases, options, dict(vars(options), torch=torch.__version__))


if __name__ == "__main__":
    main()

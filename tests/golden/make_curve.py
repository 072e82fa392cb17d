"""Writes curve.txt: a free-running loss curve and the band in which a correct program's curves lie.

Run:  /usr/bin/python3 make_curve.py [verify]
Needs numpy and PyTorch (made with 1.13). With `verify` it writes nothing and prints how the criterion of README.md
judges PyTorch itself: runs that are right and runs with one fault each. Takes about two minutes on two cores.
"""
import multiprocessing
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import formula
import model

DEPTH, WIDTH, STEM, HIDDEN, OUT = 18, 4, model.SMALL_UNPADDED, 16, 8
COUNT, SIZE, BATCHES, STEPS = 16, 12, 4, 100
RATE, MOMENTUM, TRUST, DECAY = 0.5, 0.9, 0.001, 1e-6
VARIANTS, TESTED, WINDOW = 40, 8, 10
EARLY = 3

HEADER = """
Free-running float32 training: ResNet-%d, base width %d, stem %s, projector 2 layers hidden %d out %d; step t takes batch
t mod %d of the formula, two views of %d images of 3 x %d x %d, forwarded one after the other in training mode. Loss mio,
tau 0.5 0.5, l2_weight 1, balanced. LARS as in trajectory.txt.gz but with the constant rate %g.
reference: losses from the formula's start; mean, deviation (n-1), min, max: over %d runs whose start weights were
multiplied by 1 + 1e-7 signed(NOISE + 4096 run + parameter, element), run 1 to %d, and rounded to float32.
window_mean, window_deviation: the same over each run's means of %d steps.
""" % (DEPTH, WIDTH, STEM, HIDDEN, OUT, BATCHES, COUNT, SIZE, SIZE, RATE, VARIANTS, VARIANTS, WINDOW)


class UnbiasedNorm(nn.Module):
    """A faulty batch norm: divides by the unbiased variance."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x):
        axes = [0] + list(range(2, x.dim()))
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean, var = x.mean(axes, keepdim=True), x.var(axes, unbiased=True, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * self.weight.reshape(shape) + self.bias.reshape(shape)


def spoil(module):
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(module, name, UnbiasedNorm(child))
        else:
            spoil(child)


def run(job):
    """Losses of one run; job is (noise number or 0, fault or "", type)."""
    number, fault, dtype = job
    torch.set_num_threads(1)
    net = model.start(model.Net(DEPTH, WIDTH, STEM, 2, HIDDEN, OUT)).train()
    if number:
        with torch.no_grad():
            for i, p in enumerate(net.parameters()):
                u = formula.signed(formula.STREAM_NOISE + 4096 * number + i, np.arange(p.numel()))
                p.copy_(torch.from_numpy(model.numpy(p) * (1.0 + 1e-7 * u.reshape(tuple(p.shape)))))
    net = net.to(dtype)
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    parameters = list(net.parameters())
    if fault == "unbiased variance in normalisation":
        spoil(net)
    images = [[torch.from_numpy(formula.images(b, v, COUNT, 3, SIZE, SIZE)).to(dtype) for v in range(2)]
              for b in range(BATCHES)]
    losses = []
    for t in range(STEPS):
        x1, x2 = images[t % BATCHES]
        if fault == "views joined":
            z1, z2 = net(torch.cat([x1, x2]))[1].chunk(2)
        else:
            z1, z2 = net(x1)[1], net(x2)[1]
        without = fault == "l2_weight 0" or (fault == "l2_weight 0 from step 20" and t >= 20)
        loss = model.mio(z1, z2, weight=0.0 if without else 1.0)
        for p in parameters:
            p.grad = None
        loss.backward()
        rate, momentum = RATE, MOMENTUM
        if fault == "momentum 0.8":
            momentum = 0.8
        if fault == "momentum lost at steps 10, 20, ..." and t % 10 == 0:
            momentum = 0.0
        if fault == "momentum lost at steps 20, 24, ..." and t >= 20 and t % 4 == 0:
            momentum = 0.0
        if fault == "rate x 0.97":
            rate *= 0.97
        if fault == "rate x 0.5 from step 20" and t >= 20:
            rate *= 0.5
        if fault == "rate x 0.1 from step 20" and t >= 20:
            rate *= 0.1
        with torch.no_grad():
            for p, v in zip(parameters, velocity):
                g, trust = p.grad, 1.0
                if p.dim() > 1 or fault == "batch norm adapted":
                    g = g + DECAY * p
                    trust = TRUST * p.double().norm().item() / g.double().norm().item()
                v.mul_(momentum).add_(g * (rate * trust))
                p.sub_(v)
        losses.append(loss.item())
    return losses


def windows(curves):
    return curves.reshape(len(curves), -1, WINDOW).mean(2)


def judge(curves, band):
    """(largest early deviation in band deviations, largest window difference in its own deviations)."""
    early = np.abs(curves - band.mean(0))[:, :EARLY] / band.std(0, ddof=1)[:EARLY]
    ours, theirs = windows(curves), windows(band)
    allowed = theirs.std(0, ddof=1) * np.sqrt(1.0 / len(ours) + 1.0 / len(theirs))
    late = np.abs(ours.mean(0) - theirs.mean(0)) / allowed
    return early.max(), late.max()


def verify(pool, band):
    def tell(name, curves, against):
        early, late = judge(curves, against)
        print("%-40s early %9.1f  windows %6.2f  %s" % (
            name, early, late, "pass" if early <= 20 and late <= 4 else "FAIL" + (" (windows)" if late > 4 else "")
            + (" (early)" if early > 20 else "")), flush=True)
    for i in range(0, VARIANTS, TESTED):
        keep = np.arange(VARIANTS)
        tell("runs %d to %d left out" % (i + 1, i + TESTED), band[i:i + TESTED],
             band[(keep < i) | (keep >= i + TESTED)])
    for first in (101, 201, 301):
        curves = pool.map(run, [(first + i, "", torch.float32) for i in range(TESTED)])
        tell("fresh runs %d to %d" % (first, first + TESTED - 1), np.array(curves), band)
    tell("fresh runs in float64", np.array(pool.map(run, [(101 + i, "", torch.float64) for i in range(TESTED)])), band)
    for fault in ("momentum 0.8", "unbiased variance in normalisation", "l2_weight 0", "views joined", "rate x 0.97",
                  "batch norm adapted", "momentum lost at steps 10, 20, ...", "momentum lost at steps 20, 24, ...",
                  "rate x 0.5 from step 20", "rate x 0.1 from step 20", "l2_weight 0 from step 20"):
        tell(fault, np.array(pool.map(run, [(101 + i, fault, torch.float32) for i in range(TESTED)])), band)


def main():
    with multiprocessing.Pool(2) as pool:
        curves = np.array(pool.map(run, [(i, "", torch.float32) for i in range(VARIANTS + 1)]))
        reference, band = curves[0], curves[1:]
        if sys.argv[1:] == ["verify"]:
            return verify(pool, band)
    out = formula.Writer("curve.txt")
    out.comment(HEADER)
    for name, values in (("reference", reference), ("mean", band.mean(0)), ("deviation", band.std(0, ddof=1)),
                         ("min", band.min(0)), ("max", band.max(0)), ("window_mean", windows(band).mean(0)),
                         ("window_deviation", windows(band).std(0, ddof=1))):
        out.float32(name, values)
    out.close()


if __name__ == "__main__":
    main()

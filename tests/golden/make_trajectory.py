"""Writes trajectory.txt.gz: single steps of the authors' recipe taken from stored states.

Run:  /usr/bin/python3 make_trajectory.py
Needs numpy and PyTorch (made with 1.13).
"""
import math

import numpy as np
import torch

import formula
import model

torch.set_num_threads(1)

DEPTH, WIDTH, STEM, HIDDEN, OUT = 18, 4, model.SMALL_UNPADDED, 16, 8
COUNT, SIZE = 8, 12
BASE, LOWEST, WARMUP, TOTAL, PER_EPOCH = 1.5, 1e-4, 4, 60, 5
MOMENTUM, TRUST, DECAY = 0.9, 0.001, 1e-6
STEPS = (0, 1, 10, 100)

HEADER = """
ResNet-%d, base width %d, stem %s, projector 2 layers hidden %d out %d. Step t takes batch t of the formula: two views of
%d images of 3 x %d x %d, forwarded one after the other in training mode. Loss mio, tau 0.5 0.5, l2_weight 1, balanced.
LARS (Google, classic, not Nesterov): momentum 0.9, trust coefficient 0.001, weight decay 1e-6; tensors of one dimension
get neither decay nor adaptation. Rate of step t: epoch e = t / %d (integer); %g + e (%g - %g) / %d below epoch %d, then
%g + (%g - %g) (1 + cos(pi (e - %d) / %d)) / 2.
parameter:NAME is index and shape. stepT/state/NAME, stepT/running/NAME, stepT/velocity/NAME: weights, running statistics and momentum buffers before step T,
short decimals to be read as float32; step 0 starts from the formula's weights, running 0 and 1, velocities 0 (not stored).
The step from that state, computed in float64: stepT/rate, stepT/loss; stepT/gradient_norm/NAME, stepT/gradient_sketch/NAME
for the loss's gradient (without decay); stepT/update_norm/NAME, stepT/update_sketch/NAME for the new momentum buffer,
which is the old weights minus the new ones; stepT/running_after/NAME the running statistics after it.
float32/stepT: PyTorch's own float32 relative errors of loss, all gradients, all updates, worst tensor's update.
""" % (DEPTH, WIDTH, STEM, HIDDEN, OUT, COUNT, SIZE, SIZE, PER_EPOCH, LOWEST, BASE, LOWEST, WARMUP - 1, WARMUP,
       LOWEST, BASE, LOWEST, WARMUP, TOTAL - WARMUP)


def rate(step):
    e = step // PER_EPOCH
    if e < WARMUP:
        return LOWEST + e * (BASE - LOWEST) / (WARMUP - 1)
    return LOWEST + 0.5 * (BASE - LOWEST) * (1 + math.cos(math.pi * (e - WARMUP) / (TOTAL - WARMUP)))


class Run:
    def __init__(self, dtype):
        self.dtype = dtype
        self.net = model.start(model.Net(DEPTH, WIDTH, STEM, 2, HIDDEN, OUT).to(dtype)).train()
        self.velocity = [torch.zeros_like(p) for p in self.net.parameters()]

    def step(self, t):
        z = []
        for v in range(2):
            x = torch.from_numpy(formula.images(t, v, COUNT, 3, SIZE, SIZE)).to(self.dtype)
            z.append(self.net(x)[1])
        loss = model.mio(*z)
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for p, v in zip(self.net.parameters(), self.velocity):
                g, trust = p.grad, 1.0
                if p.dim() > 1:
                    g = g + DECAY * p
                    norm_p, norm_g = p.double().norm().item(), g.double().norm().item()
                    if norm_p > 0 and norm_g > 0:
                        trust = TRUST * norm_p / norm_g
                v.mul_(MOMENTUM).add_(g * (rate(t) * trust))
                p.sub_(v)
        return loss.item()

    def tensors(self):
        """All state: [(kind, name, tensor)]."""
        names = [n for n, _ in model.parameters(self.net)]
        return ([("state", n, p.data) for n, p in model.parameters(self.net)]
                + [("velocity", n, v) for n, v in zip(names, self.velocity)]
                + [("running", n, b) for n, b in model.running(self.net)])


def short(tensor):
    """The float32 values nearest to four-digit decimals."""
    return np.array([float("%.4g" % v) for v in model.numpy(tensor).reshape(-1)]).astype(np.float32)


def join(arrays):
    return np.concatenate([np.asarray(a).reshape(-1) for a in arrays])


def main():
    out = formula.Writer("trajectory.txt.gz")
    out.comment(HEADER)
    free = Run(torch.float32)
    for i, (name, p) in enumerate(model.parameters(free.net)):
        out.record("parameter:" + name, [i] + list(p.shape))
    losses = []
    for t in range(max(STEPS) + 1):
        if t in STEPS:
            runs = [Run(torch.float64), Run(torch.float32)]
            if t > 0:
                for i, (kind, name, tensor) in enumerate(free.tensors()):
                    values = short(tensor)
                    for run in runs:
                        target = run.tensors()[i][2]
                        target.copy_(torch.from_numpy(values).reshape(target.shape))
                    out.record("step%d/%s/%s" % (t, kind, name), values.astype(np.float64), "%.4g")
            truth, single = runs
            found = [run.step(t) for run in runs]
            gradients = [[model.numpy(p.grad) for p in run.net.parameters()] for run in runs]
            updates = [[model.numpy(v) for v in run.velocity] for run in runs]
            out.record("step%d/rate" % t, [rate(t)])
            out.record("step%d/loss" % t, [found[0]])
            for i, (name, _) in enumerate(model.parameters(truth.net)):
                for what, values in (("gradient", gradients[0][i]), ("update", updates[0][i])):
                    out.float32("step%d/%s_norm/%s" % (t, what, name), [np.linalg.norm(values.reshape(-1))])
                    out.float32("step%d/%s_sketch/%s" % (t, what, name), formula.sketch(i, values))
            for name, value in model.running(truth.net):
                out.float32("step%d/running_after/%s" % (t, name), model.numpy(value))
            worst = max(model.relative(s, d) for s, d in zip(updates[1], updates[0]))
            errors = [abs(found[1] / found[0] - 1), model.relative(join(gradients[1]), join(gradients[0])),
                      model.relative(join(updates[1]), join(updates[0])), worst]
            out.record("float32/step%d" % t, errors, "%.3g")
            print("step", t, "rate", rate(t), "loss", found[0], "float32 errors", errors, "gradient",
                  np.linalg.norm(join(gradients[0])), "weights", np.linalg.norm(join([p.detach().numpy() for p in free.net.parameters()])))
        losses.append(free.step(t))
    print("free-running losses", " ".join("%.3f" % v for v in losses[::5]))
    out.close()


if __name__ == "__main__":
    main()

"""Writes optimizers.txt: weights after each of five steps, and learning-rate schedules, float64.

Run:  /usr/bin/python3 make_optimizers.py
Needs numpy and PyTorch (made with 1.13). LARS is written anew in numpy from the formulas of README.md.
"""
import math

import numpy as np
import torch

import formula

torch.set_num_threads(1)

HEADER = """
Optimizer steps, float64. Six tensors; every record NAME/stepT holds all weights after step T (1 to 5), joined in this order.
tensor/*: index and shape. start: weights before step 1; gradientT: gradients of step T (they do not depend on the weights);
all are float32 values: tensor i starts at signed(OPTIMIZER + i, j), its gradient in step T is
signed(OPTIMIZER + 256 T + i, j), but zero.weight starts at 0 and still.weight's gradients are 0.
rates: the learning rate of each step.
Names: m momentum, wd weight decay, eta trust coefficient. sgd*_excluded: wd 0 for tensors of one dimension.
LARS: tensors of one dimension get neither weight decay nor adaptation; *_compat: instead those whose name holds bn or bias.
schedule:*: a list of step (or epoch) and rate pairs; the arguments stand in the name.
"""
TENSORS = [("fc.weight", (4, 6)), ("fc.bias", (4,)), ("bn1.weight", (5,)), ("downsample.1.weight", (5,)),
           ("zero.weight", (3, 3)), ("still.weight", (2, 3))]
RATES = [0.1, 0.2, 0.4, 0.4, 0.05]


def values(stream):
    return [formula.signed(stream + i, np.arange(int(np.prod(shape)))).astype(np.float32).astype(np.float64)
            for i, (_, shape) in enumerate(TENSORS)]


def start():
    w = values(formula.STREAM_OPTIMIZER)
    w[4][:] = 0
    return w


def gradient(step):
    g = values(formula.STREAM_OPTIMIZER + 256 * step)
    g[5][:] = 0
    return g


def by_torch(make):
    weights = [torch.tensor(w.reshape(shape), requires_grad=True) for w, (_, shape) in zip(start(), TENSORS)]
    optimizer = make(weights)
    out = []
    for step, rate in enumerate(RATES, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for w, g in zip(weights, gradient(step)):
            w.grad = torch.tensor(g.reshape(w.shape))
        optimizer.step()
        out.append(np.concatenate([w.detach().numpy().reshape(-1) for w in weights]))
    return out


def lars(form, momentum, decay, eta, nesterov=False, compat=False):
    weights, out = start(), []
    velocity = [np.zeros_like(w) for w in weights]
    for step, rate in enumerate(RATES, 1):
        for i, g in enumerate(gradient(step)):
            name, shape = TENSORS[i]
            w = weights[i]
            excluded = ("bn" in name or "bias" in name) if compat else len(shape) <= 1
            trust = 1.0
            if not excluded:
                g = g + decay * w
                norm_w, norm_g = math.sqrt((w * w).sum()), math.sqrt((g * g).sum())
                if norm_w > 0 and norm_g > 0:
                    trust = eta * norm_w / norm_g
            if form == "google":
                scaled = rate * trust * g
                velocity[i] = momentum * velocity[i] + scaled
                w -= momentum * velocity[i] + scaled if nesterov else velocity[i]
            else:
                velocity[i] = momentum * velocity[i] + trust * g
                w -= rate * velocity[i]
        out.append(np.concatenate(weights).copy())
    return out


def constant(k, base):
    return base


def steps(k, base, every, factor):
    return base * factor ** (k // every)


def warmup_cosine(k, base, end, warmup, total, first):
    """first 0: the ramp starts at 0 (k/W); first 1: it starts at base/W ((k+1)/W)."""
    if k < warmup:
        return base * (k + first) / warmup
    return end + 0.5 * (base - end) * (1 + math.cos(math.pi * (k - warmup) / (total - warmup)))


def mio_epochs(e, base, start_rate, end, warmup, total):
    if e < warmup:
        return start_rate + e * (base - start_rate) / (warmup - 1)
    return end + 0.5 * (base - end) * (1 + math.cos(math.pi * (e - warmup) / (total - warmup)))


def main():
    out = formula.Writer("optimizers.txt")
    out.comment(HEADER)
    for i, (name, shape) in enumerate(TENSORS):
        out.record("tensor/" + name, [i] + list(shape))
    out.record("rates", RATES)
    out.record("start", np.concatenate(start()))
    for step in range(1, 6):
        out.record("gradient%d" % step, np.concatenate(gradient(step)))

    def groups(weights, decay):
        return [{"params": [w for w in weights if w.dim() > 1], "weight_decay": decay},
                {"params": [w for w in weights if w.dim() <= 1], "weight_decay": 0.0}]
    sgd, adamw = torch.optim.SGD, torch.optim.AdamW
    runs = {
        "sgd_m0_wd0": by_torch(lambda w: sgd(w, lr=1)),
        "sgd_m0.9_wd0": by_torch(lambda w: sgd(w, lr=1, momentum=0.9)),
        "sgd_m0.9_wd0.01": by_torch(lambda w: sgd(w, lr=1, momentum=0.9, weight_decay=0.01)),
        "sgd_nesterov_m0.9_wd0.01": by_torch(lambda w: sgd(w, lr=1, momentum=0.9, weight_decay=0.01, nesterov=True)),
        "sgd_m0.9_wd0.01_excluded": by_torch(lambda w: sgd(groups(w, 0.01), lr=1, momentum=0.9)),
        "adamw_b0.9_0.999_eps1e-8_wd0.01": by_torch(lambda w: adamw(w, lr=1, weight_decay=0.01)),
        "adamw_b0.8_0.95_eps1e-3_wd0.1": by_torch(lambda w: adamw(w, lr=1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
        "adamw_b0.9_0.999_eps1e-8_wd0": by_torch(lambda w: adamw(w, lr=1, weight_decay=0.0)),
        "lars_google_m0.9_wd1e-6_eta0.001": lars("google", 0.9, 1e-6, 0.001),
        "lars_google_m0.9_wd0.01_eta0.1": lars("google", 0.9, 0.01, 0.1),
        "lars_google_nesterov_m0.9_wd0.01_eta0.1": lars("google", 0.9, 0.01, 0.1, nesterov=True),
        "lars_google_m0.9_wd0.01_eta0.1_compat": lars("google", 0.9, 0.01, 0.1, compat=True),
        "lars_google_m0.9_wd0_eta0.1": lars("google", 0.9, 0.0, 0.1),
        "lars_fair_m0.9_wd1e-6_eta0.001": lars("fair", 0.9, 1e-6, 0.001),
        "lars_fair_m0.9_wd0.01_eta0.1": lars("fair", 0.9, 0.01, 0.1),
    }
    for name, states in runs.items():
        for step, state in enumerate(states, 1):
            out.record("%s/step%d" % (name, step), state)

    def schedule(name, at, function, *arguments):
        full = ":".join(["schedule", name] + ["%g" % a for a in arguments])
        out.record(full, [v for k in at for v in (k, function(k, *arguments))])
    schedule("constant", (0, 1, 7, 1000), constant, 0.3)
    schedule("step", (0, 1, 2, 29, 30, 59, 60, 99), steps, 0.3, 30, 0.1)
    schedule("step", (0, 1, 2, 10, 50, 99), steps, 0.01, 1, 0.98)
    at = (0, 1, 2, 50, 98, 99, 100, 101, 300, 440, 500, 778, 779)
    schedule("warmup_cosine", at, warmup_cosine, 0.2, 0, 100, 780, 0)
    schedule("warmup_cosine", at, warmup_cosine, 0.2, 0, 100, 780, 1)
    schedule("warmup_cosine", at, warmup_cosine, 0.2, 0.002, 100, 780, 1)
    schedule("warmup_cosine", (0, 1, 5, 9), warmup_cosine, 0.2, 0, 0, 10, 1)
    schedule("mio_epochs", (0, 1, 2, 5, 8, 9, 10, 11, 100, 249, 250, 505, 999, 1000), mio_epochs,
             1.5, 1e-4, 1e-4, 10, 1000)
    schedule("mio_epochs", (0, 1, 2, 3, 4, 5, 20, 59), mio_epochs, 1.5, 1e-4, 1e-4, 4, 60)

    # The same step schedule by PyTorch's own StepLR.
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = sgd([weight], lr=0.3)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 30, 0.1)
    for k in range(100):
        assert abs(optimizer.param_groups[0]["lr"] - steps(k, 0.3, 30, 0.1)) < 1e-15
        optimizer.step()
        rates.step()
    out.close()


if __name__ == "__main__":
    main()

"""Writes losses.txt: loss values and gradients.

Run:  /usr/bin/python3 make_losses.py [golden_losses.json]
Needs numpy and PyTorch (made with 1.13). The JSON file holds values that published implementations
gave on the small input; without it the `small/...` records of the present losses.txt are kept.
The closed formulas below are written anew and must agree with those values to 1e-12.
"""
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

import formula

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

SMALL_HEADER = """
Loss values and gradients, float64. Record: name count values.
small/*: B=4, d=3, labels 0 1 0 2 in both views,
  z1[i][k] = sin(1 + 1.7 i + 0.9 k) + 0.1 (i - k),  z2[i][k] = sin(1.35 + 1.7 i + 0.9 k) + 0.1 (i - k),
  queue[i][k] = cos(0.3 + 1.1 i + 0.7 k), rows normalised, 6 rows (moco, nnclr),
  anchors (cam) 0.9 0.1 -0.2 / -0.3 0.8 0.1 / 0.2 0.2 0.1.
  A source named after a dash: the value that implementation gave. other/*: conventions that libmio does not follow.
wide/*: B=9, d=17, see inputs/wide_* (exact in float32), labels i mod 3 in both views; closed formulas and autograd.
*/value is the loss, */gradient is grad_z1 then grad_z2, both row-major.
"""

# JSON key -> record name; the first name of each loss is the form that libmio implements.
NAMES = {
    "mio lambda=0.0 tp=0.5 tn=0.5": "mio/tp0.5_tn0.5_l0",
    "mio lambda=1.0 tp=0.5 tn=0.5": "mio/tp0.5_tn0.5_l1",
    "mio lambda=1.0 tp=0.3 tn=0.7": "mio/tp0.3_tn0.7_l1",
    "ntxent tau=0.5 (lightly)": "nt_xent/t0.5",
    "ntxent tau=0.5 (solo)": "nt_xent/t0.5-solo",
    "ntxent tau=0.1 (lightly)": "nt_xent/t0.1",
    "ntxent tau=0.1 (solo)": "nt_xent/t0.1-solo",
    "ntxent tau=0.5 (PML SelfSupervised)": "nt_xent/t0.5-pml",
    "supcon T=.07 base=.07 unsup (official)": "supcon/t0.07_base0.07_unlabelled",
    "supcon T=.1 base=.07 (official)": "supcon/t0.1_base0.07",
    "supcon T=.1 base=.1 (official)": "supcon/t0.1_base0.1",
    "supcon T=.1 (PML)": "supcon/t0.1_base0.1-pml",
    "supcon T=.1 (solo: L_in-like log of sum)": "other/supcon_solo_t0.1",
    "dcl tau=.1 (lightly)": "dcl/t0.1",
    "dclw tau=.1 sigma=.5 (lightly)": "dclw/t0.1_sigma0.5",
    "dcl tau=.1 (raminnakhli, both ways /2)": "dcl/t0.1-raminnakhli",
    "sogclr step1 u=0 (LibAUC)": "sogclr/t0.1_step1",
    "sogclr step2 gamma=.9, rows rolled by 1 (LibAUC)": "sogclr/t0.1_step2",
    "barlow lambda=.005 (lightly)": "barlow_twins/w0.005",
    "barlow (formula, biased var, eps 1e-5)": "barlow_twins/w0.005-formula",
    "vicreg 25/25/1 (lightly)": "vicreg/25_25_1",
    "vicreg (official formula)": "vicreg/25_25_1-official",
    "vicreg 25/25/1 (solo: var term is summed not averaged)": "other/vicreg_solo_25_25_1",
    "vicreg (PML)": "vicreg/25_25_1-pml",
    "byol symmetrised (deepmind: sum of 2)": "byol/sum",
    "simsiam (official 0.5*(D+D))": "simsiam/half",
    "nnclr tau=.1 p1=z1 p2=z2 (solo/paper eq)": "nnclr/t0.1",
    "nnclr tau=.1 (lightly recipe: NTXent(nn,p))": "other/nnclr_lightly_t0.1",
    "moco q=z1 k=z2 queue K=6 T=.07": "moco/t0.07",
    "siglip t=10 b=-10": "siglip/t10_b-10",
    "hcl tau=.5 tau_plus=.1 beta=1 (official)": "hcl/t0.5_prior0.1_beta1",
    "cam m=1 p=1 attractor mean, LR/LN summed (UNOFFICIAL)": "cam/m1_p1_z1_only",
    "lacln/CLCE tau=.5 (UNOFFICIAL)": "schane/t0.5",
}
PLAIN = {"sogclr_u_after_step1": "sogclr/t0.1_step1/u", "sogclr_u_after_step2": "sogclr/t0.1_step2/u",
         "nn_idx": "nnclr/t0.1/nearest"}


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def masks(pairs):
    n = 2 * pairs
    same = torch.eye(n, dtype=torch.bool)
    positive = same.roll(pairs, 1)
    return same, positive, ~(same | positive)


def cosines(z1, z2):
    u = unit(torch.cat([z1, z2]))
    return u @ u.T


def mio(z1, z2, tp=0.5, tn=0.5, weight=1.0, pooled=False):
    s = cosines(z1, z2)
    same, positive, negative = masks(len(z1))
    zero = torch.zeros(())
    p = torch.logaddexp(-s[positive] / tp, zero)  # F.softplus is linear above 20: an error of 2e-9
    n = torch.logaddexp(s[negative] / tn, zero)
    body = torch.cat([p, n]).mean() if pooled else p.mean() + n.mean()
    return body + weight * F.mse_loss(unit(z1), unit(z2))


def mio_decoupled(z1, z2, tp=0.5, tn=0.5, weight=0.0):
    s = cosines(z1, z2)
    same, positive, negative = masks(len(z1))
    value = -(s[positive] / tp).mean() + torch.log1p((s[negative] / tn).exp().mean())
    return value + weight * F.mse_loss(unit(z1), unit(z2))


def nt_xent(z1, z2, t):
    s = cosines(z1, z2) / t
    same, positive, negative = masks(len(z1))
    return (s.masked_fill(same, -math.inf).logsumexp(1) - s[positive]).mean()


def supcon(z1, z2, labels, t, base):
    s = cosines(z1, z2) / t
    same, positive, negative = masks(len(z1))
    y = torch.cat([labels, labels])
    wanted = (y[:, None] == y[None]) & ~same
    log_p = s - s.masked_fill(same, -math.inf).logsumexp(1, keepdim=True)
    return -(t / base) * ((log_p * wanted).sum(1) / wanted.sum(1)).mean()


def rows(s, mask):
    return s[mask].reshape(len(s), -1)


def hcl(z1, z2, t, prior, beta):
    s = cosines(z1, z2)
    same, positive, negative = masks(len(z1))
    e, pos = rows(s, negative).div(t).exp(), s[positive].div(t).exp()
    importance = e ** beta
    n = e.shape[1]
    hard = (importance * e).sum(1) / importance.mean(1)
    ng = ((hard - prior * n * pos) / (1 - prior)).clamp(min=n * math.exp(-1 / t))
    return -(pos / (pos + ng)).log().mean()


def schane(z1, z2, labels, t):
    s = (cosines(z1, z2) / t).exp()
    same, positive, negative = masks(len(z1))
    y = torch.cat([labels, labels])
    wanted = (y[:, None] == y[None]) & ~same
    other = y[:, None] != y[None]
    count = other.sum(1)
    weight = count[:, None] * s * other / (s * other).sum(1, keepdim=True)
    pos = (s * wanted).sum(1)
    return -((pos / wanted.sum(1)) / (pos + (weight * s * other).sum(1))).log().mean()


def dcl(z1, z2, t, sigma=None):
    s = cosines(z1, z2) / t
    same, positive, negative = masks(len(z1))
    pos = s[positive]
    if sigma is not None:
        w = 2 - len(z1) * torch.softmax((unit(z1) * unit(z2)).sum(1).detach() / sigma, 0)
        pos = pos * torch.cat([w, w])
    return (rows(s, negative).logsumexp(1) - pos).mean()


def sogclr(z1, z2, t, gamma, u):
    """u holds the value of every row before the step, or None for the first step (gamma 1)."""
    s = cosines(z1, z2)
    same, positive, negative = masks(len(z1))
    neg = rows(s, negative)
    g = (neg.detach() / t).exp().mean(1)
    if u is None:
        moving = g
    else:
        moving = (1 - gamma) * torch.cat([u, u]) + gamma * g
    w = (neg.detach() / t).exp() / moving.clamp(min=1e-8)[:, None]
    value = (-s[positive] + (w * neg).mean(1)).sum() / len(z1)
    return value, moving.reshape(2, -1).mean(0)


def nnclr(z1, z2, queue, t):
    def half(z, p):
        nearest = queue[(unit(z).detach() @ queue.T).argmax(1)]
        return F.cross_entropy(nearest @ unit(p).T / t, torch.arange(len(p)))
    return 0.5 * (half(z1, z2) + half(z2, z1))


def barlow_twins(z1, z2, w):
    def norm(z):
        return (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
    c = norm(z1).T @ norm(z2) / len(z1)
    diagonal = torch.diagonal(c)
    return (diagonal - 1).square().sum() + w * (c.square().sum() - diagonal.square().sum())


def vicreg(z1, z2, invariance, variance, covariance):
    def v(z):
        return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()

    def c(z):
        z = z - z.mean(0)
        m = z.T @ z / (len(z) - 1)
        return (m.square().sum() - torch.diagonal(m).square().sum()) / z.shape[1]
    return (invariance * F.mse_loss(z1, z2) + variance * 0.5 * (v(z1) + v(z2)) + covariance * (c(z1) + c(z2)))


def siglip(z1, z2, log_scale, bias):
    logit = log_scale.exp() * unit(z1) @ unit(z2).T + bias
    sign = 2 * torch.eye(len(z1)) - 1
    return -F.logsigmoid(sign * logit).sum() / len(z1)


def moco(z1, z2, queue, t):
    q, k = unit(z1), unit(z2).detach()
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / t
    return F.cross_entropy(logits, torch.zeros(len(z1), dtype=torch.long))


def byol(z1, z2):
    def d(p, target):
        return (2 - 2 * (unit(p) * unit(target.detach())).sum(1)).mean()
    return d(z1, z2) + d(z2, z1)


def simsiam(z1, z2):
    return -0.5 * ((unit(z1) * unit(z2).detach()).sum(1).mean() + (unit(z2) * unit(z1).detach()).sum(1).mean())


def cam(e, labels, anchors, m, p):
    attract = 0.5 * (e - anchors[labels]).square().sum(1).mean()
    distance = torch.cdist(anchors, anchors, compute_mode="donot_use_mm_for_euclid_dist")
    other = ~torch.eye(len(anchors), dtype=torch.bool)
    repel = 0.5 * F.relu(2 * m - distance[other]).square().sum()
    norm = 0.5 * F.relu(p - anchors.norm(dim=1)).square().sum()
    return attract + repel + norm


def gradients(value, *leaves):
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return np.concatenate([(torch.zeros_like(x) if g is None else g).reshape(-1).numpy() for g, x in zip(found, leaves)])


def small_input():
    i, k = np.arange(4)[:, None], np.arange(3)[None]
    z = [np.sin(1 + s + 1.7 * i + 0.9 * k) + 0.1 * (i - k) for s in (0.0, 0.35)]
    q = np.cos(0.3 + 1.1 * np.arange(6)[:, None] + 0.7 * k)
    anchors = np.array([[0.9, 0.1, -0.2], [-0.3, 0.8, 0.1], [0.2, 0.2, 0.1]])
    return z[0], z[1], np.array([0, 1, 0, 2]), q / np.linalg.norm(q, axis=1, keepdims=True), anchors


def wide_input():
    """z_v = float32(signed(ROWS, j) + 0.5 signed(ROWS + 1 + v, j)); queue, anchors likewise."""
    b, d = 9, 17
    j = np.arange(b * d)
    z = [(formula.signed(formula.STREAM_ROWS, j) + 0.5 * formula.signed(formula.STREAM_ROWS + 1 + v, j))
         .astype(np.float32).astype(np.float64).reshape(b, d) for v in range(2)]
    q = formula.signed(formula.STREAM_ROWS + 3, np.arange(11 * d)).astype(np.float32).astype(np.float64).reshape(11, d)
    anchors = formula.signed(formula.STREAM_ROWS + 4, np.arange(3 * d)).astype(np.float32).astype(np.float64)
    return z[0], z[1], np.arange(b) % 3, q / np.linalg.norm(q, axis=1, keepdims=True), 0.25 * anchors.reshape(3, d)


def cases(z1, z2, labels, queue, anchors):
    """Name -> (value, gradient, extra records). Leaves are made anew for every loss."""
    out = {}
    labels, queue, anchors = torch.tensor(labels), torch.tensor(queue), torch.tensor(anchors)

    def leaves():
        return torch.tensor(z1, requires_grad=True), torch.tensor(z2, requires_grad=True)

    def add(name, function):
        a, b = leaves()
        value = function(a, b)
        out[name] = (value.item(), gradients(value, a, b), {})

    for tp, tn, weight in ((0.5, 0.5, 0), (0.5, 0.5, 1), (0.3, 0.7, 1), (0.1, 0.07, 1), (2.0, 0.25, 0.125), (0.02, 0.01, 3)):
        for pooled in (False, True):
            name = "mio/tp%g_tn%g_l%g%s" % (tp, tn, weight, "_pooled" if pooled else "")
            add(name, lambda a, b: mio(a, b, tp, tn, weight, pooled))
    for tp, tn, weight in ((0.5, 0.5, 0), (0.5, 0.5, 1), (0.2, 0.1, 0.5)):
        add("mio_decoupled/tp%g_tn%g_l%g" % (tp, tn, weight), lambda a, b: mio_decoupled(a, b, tp, tn, weight))
    for t in (0.5, 0.1):
        add("nt_xent/t%g" % t, lambda a, b: nt_xent(a, b, t))
    for t, base in ((0.07, 0.07), (0.1, 0.07), (0.1, 0.1)):
        add("supcon/t%g_base%g" % (t, base), lambda a, b: supcon(a, b, labels, t, base))
    add("supcon/t0.07_base0.07_unlabelled", lambda a, b: nt_xent(a, b, 0.07))
    add("hcl/t0.5_prior0.1_beta1", lambda a, b: hcl(a, b, 0.5, 0.1, 1))
    add("hcl/t0.5_prior0_beta0", lambda a, b: hcl(a, b, 0.5, 0, 0))
    add("schane/t0.5", lambda a, b: schane(a, b, labels, 0.5))
    add("schane/t0.5_unlabelled", lambda a, b: schane(a, b, torch.arange(len(a)), 0.5))
    add("dcl/t0.1", lambda a, b: dcl(a, b, 0.1))
    add("dclw/t0.1_sigma0.5", lambda a, b: dcl(a, b, 0.1, 0.5))
    a, b = leaves()
    value, u = sogclr(a, b, 0.1, 0.9, None)
    out["sogclr/t0.1_step1"] = (value.item(), gradients(value, a, b), {"u": u.numpy()})
    a, b = leaves()
    value, rolled = sogclr(a, b, 0.1, 0.9, u.roll(-1))
    out["sogclr/t0.1_step2"] = (value.item(), gradients(value, a, b), {"u": rolled.roll(1).numpy()})
    add("nnclr/t0.1", lambda a, b: nnclr(a, b, queue, 0.1))
    add("barlow_twins/w0.005", lambda a, b: barlow_twins(a, b, 0.005))
    add("vicreg/25_25_1", lambda a, b: vicreg(a, b, 25, 25, 1))
    a, b = leaves()
    scale, bias = torch.tensor(math.log(10.0), requires_grad=True), torch.tensor(-10.0, requires_grad=True)
    value = siglip(a, b, scale, bias)
    out["siglip/t10_b-10"] = (value.item(), gradients(value, a, b), {})
    value = siglip(a, b, scale, bias)
    out["siglip/t10_b-10"][2]["scale_bias_gradient"] = gradients(value, scale, bias)
    add("moco/t0.07", lambda a, b: moco(a, b, queue, 0.07))
    add("byol/sum", byol)
    add("simsiam/half", simsiam)
    a, b = leaves()
    anchors.requires_grad_(True)
    value = cam(a, labels, anchors, 1, 1)
    out["cam/m1_p1_z1_only"] = (value.item(), gradients(value, a, b), {})
    value = cam(a, labels, anchors, 1, 1)
    out["cam/m1_p1_z1_only"][2]["anchor_gradient"] = gradients(value, anchors)
    return out


def published(path):
    """The JSON file's values as name -> array."""
    with open(path) as text:
        data = json.load(text)
    out = {}
    for key, name in NAMES.items():
        entry, size = data[key], 12
        parts = entry["grads"]
        grad = np.zeros(2 * size)
        for v in range(2):
            if parts[v] is not None and (v == 0 or not name.startswith("cam/")):
                grad[v * size:(v + 1) * size] = np.asarray(parts[v]).reshape(-1)
        out["small/" + name + "/value"] = np.array([entry["loss"]])
        out["small/" + name + "/gradient"] = grad
        if name.startswith("siglip/"):
            out["small/" + name + "/scale_bias_gradient"] = np.array(parts[2:4])
        if name.startswith("cam/"):
            out["small/" + name + "/anchor_gradient"] = np.asarray(parts[1]).reshape(-1)
    for key, name in PLAIN.items():
        out["small/" + name] = np.asarray(data[key], dtype=np.float64).reshape(-1)
    return out


def main():
    if len(sys.argv) > 1:
        small = published(sys.argv[1])
    else:
        old = formula.read("losses.txt")
        small = {k: v for k, v in old.items() if k.startswith("small/")}
    worst = 0.0
    for name, (value, grad, extra) in cases(*small_input()).items():
        found = {"value": np.array([value]), "gradient": grad}
        found.update(extra)
        for part, v in found.items():
            full = "small/%s/%s" % (name, part)
            if full in small:
                error = np.abs(small[full] - v).max() / max(1.0, np.abs(v).max())
                if error > 1e-12:
                    print("differs:", full, error, small[full], v)
                worst = max(worst, error)
            else:
                small[full] = v
    print("closed formulas against published values: worst difference %.1e" % worst)

    z1, z2, labels, queue, anchors = wide_input()
    out = formula.Writer("losses.txt")
    out.comment(SMALL_HEADER)
    for name, values in zip(("z1", "z2", "labels", "queue", "anchors"), wide_input()):
        out.record("inputs/wide_" + name, values)
    for name in sorted(small):
        out.record(name, small[name])
    for name, (value, grad, extra) in sorted(cases(z1, z2, labels, queue, anchors).items()):
        out.record("wide/%s/value" % name, [value])
        out.record("wide/%s/gradient" % name, grad)
        for part, v in extra.items():
            out.record("wide/%s/%s" % (name, part), v)
    out.close()
    assert worst < 1e-12


if __name__ == "__main__":
    main()

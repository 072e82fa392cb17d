"""The losses as a PyTorch user would write them for speed: one matrix product, with the temperature and the pairs to leave
out folded into it; logsumexp; class sums instead of masks of pairs.

Every entry of LOSSES makes a loss for a batch of `pairs` rows of `dim` values: it returns (function of the two views, tensors
that get gradients besides them). Parameters are libmio's defaults, labels have ten classes. Run as a program, it holds every
value and gradient against the double formulas of tests/golden/make_losses.py.
"""
import functools
import math

import torch
import torch.nn.functional as F

CLASSES, QUEUE = 10, 65536


def unit(z):
    return F.normalize(z, eps=0.0)


def units(z1, z2):
    """The unit vectors of both views, one above the other, and the cosines of the pairs."""
    u = unit(torch.cat([z1, z2]))
    return u, (u[:len(z1)] * u[len(z1):]).sum(1)


@functools.lru_cache(maxsize=None)
def outside(count, *offsets):
    """-infinity on diagonals of a matrix of zeros."""
    mask = torch.zeros(count, count)
    for offset in offsets:
        torch.diagonal(mask, offset).fill_(-math.inf)
    return mask


def others(u, t):
    """u u^T / t without the rows themselves."""
    return torch.addmm(outside(len(u), 0), u, u.T, alpha=1 / t)


def negatives(u, t):
    """The same without the positives either."""
    pairs = len(u) // 2
    return torch.addmm(outside(len(u), 0, pairs, -pairs), u, u.T, alpha=1 / t)


def softplus(x):
    return F.softplus(x, threshold=1e6)


# ---- mio in three forms, for the job "loss" ----

def mio(z1, z2, t=0.5):
    """The matrix of all pairs."""
    pairs = len(z1)
    u, positive = units(z1, z2)
    return (softplus(-positive / t).mean() + softplus(negatives(u, t)).sum() / (2 * pairs * (2 * pairs - 2))
            + F.mse_loss(u[:pairs], u[pairs:]))


def mio_blocks(z1, z2, t=0.5):
    """The matrix is symmetric: of its four blocks three differ."""
    pairs = len(z1)
    u1, u2 = unit(z1), unit(z2)
    total = 0
    for a, b, weight in ((u1, u1, 1), (u2, u2, 1), (u1, u2, 2)):
        cost = softplus(a @ b.T / t)
        total = total + weight * (cost.sum() - torch.diagonal(cost).sum())
    positive = (u1 * u2).sum(1)
    return softplus(-positive / t).mean() + total / (2 * pairs * (2 * pairs - 2)) + F.mse_loss(u1, u2)


def mio_closed(z, t=0.5):
    """Value and gradient without autograd, in place where that is possible. z: both views, one above the other."""
    count = len(z)
    pairs = count // 2
    norm = z.norm(dim=1, keepdim=True)
    u = z / norm
    other = u.roll(pairs, 0)
    s = u @ u.T
    s.div_(t)
    positive = torch.diagonal(s, pairs).clone()
    for offset in (0, pairs, -pairs):
        torch.diagonal(s, offset).fill_(-math.inf)
    scale = 1 / (count * (count - 2))
    value = softplus(-positive).mean() + softplus(s).sum() * scale + F.mse_loss(u[:pairs], u[pairs:])
    gradient = s.sigmoid_() @ u
    gradient.mul_(2 * scale / t)
    pull = torch.sigmoid(-positive).div_(-t * pairs).repeat(2).unsqueeze(1)
    gradient.add_(pull * other).add_(u - other, alpha=2 / (pairs * z.shape[1]))
    gradient.sub_(u * (gradient * u).sum(1, keepdim=True)).div_(norm)
    return value, gradient


# ---- the others ----

def mio_decoupled(z1, z2, t=0.5):
    pairs = len(z1)
    u, positive = units(z1, z2)
    return torch.log1p(negatives(u, t).exp().sum() / (2 * pairs * (2 * pairs - 2))) - positive.mean() / t


def nt_xent(z1, z2, t=0.5):
    u, positive = units(z1, z2)
    return others(u, t).logsumexp(1).mean() - positive.mean() / t


def supcon(z1, z2, labels, t=0.07, base=0.07):
    u, _ = units(z1, z2)
    y = torch.cat([labels, labels])
    sums = torch.zeros(CLASSES, u.shape[1]).index_add(0, y, u)
    count = torch.bincount(y, minlength=CLASSES)[y] - 1
    attract = ((u * sums[y]).sum(1) - 1) / count / t
    return (t / base) * (others(u, t).logsumexp(1) - attract).mean()


def schane(z1, z2, labels, t=0.5):
    u, _ = units(z1, z2)
    y = torch.cat([labels, labels])
    same = (y[:, None] == y[None]).float()
    other = 1 - same
    e = others(u, t).exp()
    attract, e = (e * same).sum(1), e * other
    hard = other.sum(1) * e.square().sum(1) / e.sum(1)
    return (torch.log(attract + hard) - torch.log(attract / (same.sum(1) - 1))).mean()


def dcl(z1, z2, t=0.1, sigma=None):
    u, positive = units(z1, z2)
    weight = 1 if sigma is None else 2 - len(z1) * torch.softmax(positive.detach() / sigma, 0)
    return negatives(u, t).logsumexp(1).mean() - (weight * positive).mean() / t


def dclw(z1, z2, t=0.1, sigma=0.5):
    return dcl(z1, z2, t, sigma)


def hcl(z1, z2, t=0.5, prior=0.1):
    """beta is 1."""
    n = 2 * len(z1) - 2
    u, positive = units(z1, z2)
    positive = torch.cat([positive, positive]).div(t).exp()
    e = negatives(u, t).exp()
    hard = n * e.square().sum(1) / e.sum(1)
    negative = ((hard - prior * n * positive) / (1 - prior)).clamp(min=n * math.exp(-1 / t))
    return torch.log1p(negative / positive).mean()


def sogclr(z1, z2, moving, indices, t=0.1, gamma=0.9):
    pairs = len(z1)
    u, positive = units(z1, z2)
    s = u @ u.T
    with torch.no_grad():
        w = torch.add(outside(2 * pairs, 0, pairs, -pairs), s, alpha=1 / t).exp_()
        g = (w.sum(1) / (2 * pairs - 2)).reshape(2, pairs)
        old = moving[indices]
        new = torch.where(old > 0, (1 - gamma) * old + gamma * g, g)
        moving[indices] = new.mean(0)
        w.div_(new.reshape(-1, 1).clamp(min=1e-8))
    return ((w * s).sum() / (2 * pairs - 2) - 2 * positive.sum()) / pairs


def push(queue, place, rows):
    queue[place[0]:place[0] + len(rows)] = rows
    place[0] = (place[0] + len(rows)) % len(queue)


def moco(z1, z2, queue, place, t=0.07):
    q = unit(z1)
    with torch.no_grad():
        k = unit(z2)
    positive = (q * k).sum(1) / t
    value = (torch.logaddexp(positive, ((q / t) @ queue.T).logsumexp(1)) - positive).mean()
    return value, lambda: push(queue, place, k)


def nnclr(z1, z2, queue, place, t=0.1):
    u = unit(z1), unit(z2)
    labels = torch.arange(len(z1))

    def half(view):
        with torch.no_grad():
            nearest = queue[(u[view] @ queue.T).argmax(1)]
        return F.cross_entropy(nearest @ u[1 - view].T / t, labels)
    return 0.5 * (half(0) + half(1)), lambda: push(queue, place, u[0].detach())


def siglip(z1, z2, log_scale, bias):
    x = (log_scale.exp() * unit(z1)) @ unit(z2).T + bias
    positive = torch.diagonal(x)
    return (softplus(x).sum() - positive.sum()) / len(z1)  # softplus(-x) = softplus(x) - x


def byol(z1, z2):
    u1, u2 = unit(z1), unit(z2)
    return 4 - 2 * ((u1 * u2.detach()).sum(1) + (u2 * u1.detach()).sum(1)).mean()


def simsiam(z1, z2):
    return -0.5 * (F.cosine_similarity(z1, z2.detach()).mean() + F.cosine_similarity(z2, z1.detach()).mean())


def barlow_twins(z1, z2, weight=0.005):
    pairs, dim = z1.shape
    u1, u2 = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    c = u1.T @ u2 / pairs
    diagonal = torch.diagonal(c)
    return (diagonal - 1).square().sum() + weight * (c.square().sum() - diagonal.square().sum())


def vicreg(z1, z2, invariance=25, variance=25, covariance=1):
    pairs, dim = z1.shape
    value = invariance * F.mse_loss(z1, z2)
    for z in (z1, z2):
        z = z - z.mean(0)
        m = z.T @ z / (pairs - 1)
        diagonal = torch.diagonal(m)
        value = value + variance * 0.5 * F.relu(1 - (diagonal + 1e-4).sqrt()).mean()
        value = value + covariance * (m.square().sum() - diagonal.square().sum()) / dim
    return value


def cam(z1, z2, labels, anchors, anchor_margin=1, norm_margin=1):
    e, y = torch.cat([z1, z2]), torch.cat([labels, labels])
    attract = 0.5 * (e - anchors[y]).square().sum() / len(e)
    distance = torch.pdist(anchors)
    return (attract + F.relu(2 * anchor_margin - distance).square().sum()
            + 0.5 * F.relu(norm_margin - anchors.norm(dim=1)).square().sum())


def prototype(z1, z2, labels, prototypes, t=0.1):
    c = unit(prototypes)
    y = torch.cat([labels, labels])
    value = F.cross_entropy(unit(torch.cat([z1, z2])) @ c.T / t, y)
    return value + others(c, t).logsumexp(1).mean() - math.log(len(c) - 1)


# ---- all of them, ready to run ----

def labels_of(pairs):
    return torch.arange(pairs) % CLASSES


def plain(function):
    return lambda pairs, dim: (function, ())


def labelled(function):
    return lambda pairs, dim: (lambda a, b, labels=labels_of(pairs): function(a, b, labels), ())


def learnt(function):
    def make(pairs, dim):
        rows = torch.randn(CLASSES, dim).div_(math.sqrt(dim)).requires_grad_()
        labels = labels_of(pairs)
        return lambda a, b: function(a, b, labels, rows), (rows,)
    return make


def queued(function):
    def make(pairs, dim):
        queue, place = unit(torch.randn(QUEUE, dim)), [0]

        def run(a, b):
            value, advance = function(a, b, queue, place)
            return Advancing(value, advance)
        return run, ()
    return make


class Advancing:
    """A value whose queue moves on after the backward pass."""

    def __init__(self, value, advance):
        self.value, self.advance = value, advance

    def backward(self):
        self.value.backward()
        self.advance()


def make_sogclr(pairs, dim):
    u, indices = torch.zeros(pairs), torch.arange(pairs)
    return lambda a, b: sogclr(a, b, u, indices), ()


def make_siglip(pairs, dim):
    scale = torch.tensor(math.log(10.0), requires_grad=True)
    bias = torch.tensor(-10.0, requires_grad=True)
    return lambda a, b: siglip(a, b, scale, bias), (scale, bias)


LOSSES = {
    "mio": plain(mio), "mio_decoupled": plain(mio_decoupled), "nt_xent": plain(nt_xent), "dcl": plain(dcl), "dclw": plain(dclw),
    "hcl": plain(hcl), "supcon": labelled(supcon), "schane": labelled(schane), "sogclr": make_sogclr, "moco": queued(moco),
    "nnclr": queued(nnclr), "siglip": make_siglip, "byol": plain(byol), "simsiam": plain(simsiam),
    "barlow_twins": plain(barlow_twins), "vicreg": plain(vicreg), "cam": learnt(cam), "prototype": learnt(prototype),
}


def check():
    """Holds values and gradients against the double formulas, at 48 pairs of 24."""
    import os
    import sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
    import make_losses as exact

    torch.manual_seed(1)
    pairs, dim, half = 48, 24, torch.float32
    z = torch.randn(2, pairs, dim)
    labels, queue, rows = labels_of(pairs), unit(torch.randn(256, dim)), 0.3 * torch.randn(CLASSES, dim)
    u = 1 + torch.rand(pairs)
    both = torch.cat([labels, labels])
    scale, bias = torch.tensor(math.log(10.0)), torch.tensor(-10.0)

    def prototypes(a, b, c):
        c = c / c.norm(dim=1, keepdim=True)
        s = (c @ c.T / 0.1).masked_fill(torch.eye(CLASSES, dtype=torch.bool), -math.inf)
        logits = exact.unit(torch.cat([a, b])) @ c.T / 0.1
        return F.cross_entropy(logits, both) + s.logsumexp(1).mean() - math.log(CLASSES - 1)
    cases = {
        "mio": (mio, exact.mio), "mio blocks": (mio_blocks, exact.mio), "mio_decoupled": (mio_decoupled, exact.mio_decoupled),
        "nt_xent": (nt_xent, lambda a, b: exact.nt_xent(a, b, 0.5)), "dcl": (dcl, lambda a, b: exact.dcl(a, b, 0.1)),
        "dclw": (dclw, lambda a, b: exact.dcl(a, b, 0.1, 0.5)), "hcl": (hcl, lambda a, b: exact.hcl(a, b, 0.5, 0.1, 1)),
        "supcon": (lambda a, b: supcon(a, b, labels), lambda a, b: exact.supcon(a, b, labels, 0.07, 0.07)),
        "schane": (lambda a, b: schane(a, b, labels), lambda a, b: exact.schane(a, b, labels, 0.5)),
        "sogclr": (lambda a, b: sogclr(a, b, u.to(half), torch.arange(pairs)), lambda a, b: exact.sogclr(a, b, 0.1, 0.9, u)[0]),
        "moco": (lambda a, b: moco(a, b, queue.to(half), [0])[0], lambda a, b: exact.moco(a, b, queue, 0.07)),
        "nnclr": (lambda a, b: nnclr(a, b, queue.to(half), [0])[0], lambda a, b: exact.nnclr(a, b, queue, 0.1)),
        "siglip": (siglip, exact.siglip, scale, bias), "byol": (byol, exact.byol), "simsiam": (simsiam, exact.simsiam),
        "barlow_twins": (barlow_twins, lambda a, b: exact.barlow_twins(a, b, 0.005)),
        "vicreg": (vicreg, lambda a, b: exact.vicreg(a, b, 25, 25, 1)),
        "cam": (lambda a, b, c: cam(a, b, labels, c), lambda a, b, c: exact.cam(torch.cat([a, b]), both, c, 1, 1), rows),
        "prototype": (lambda a, b, c: prototype(a, b, labels, c), prototypes, rows),
    }
    for name, (ours, reference, *extra) in cases.items():
        found = []
        for function, kind in ((ours, half), (reference, torch.float64)):
            torch.set_default_dtype(kind)
            leaves = [x.to(kind, copy=True).requires_grad_() for x in (*z, *extra)]
            value = function(*leaves)
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            found.append((value.item(), torch.cat([torch.zeros_like(x).double().reshape(-1) if g is None else g.double().reshape(-1)
                                                   for g, x in zip(grads, leaves)])))
        (value, gradient), (exact_value, exact_gradient) = found
        error = abs(value - exact_value) / abs(exact_value), ((gradient - exact_gradient).norm() / exact_gradient.norm()).item()
        print("%-14s value %.1e gradient %.1e%s" % (name, *error, "  WRONG" if max(error) > 1e-5 else ""))


if __name__ == "__main__":
    check()

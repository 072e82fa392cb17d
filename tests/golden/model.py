"""The PyTorch models and the loss that the golden scripts train (plain nn.Module, torchvision's parameter names)."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import formula

IMAGENET, SMALL, SMALL_UNPADDED = "imagenet", "small", "small_unpadded"


class BasicBlock(nn.Module):
    growth = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    growth = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * width))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


BLOCKS = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3))}


class ResNet(nn.Module):
    def __init__(self, depth, width, stem, channels=3):
        super().__init__()
        block, counts = BLOCKS[depth]
        self.stem = stem
        if stem == IMAGENET:
            self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, width, 3, 1, 1 if stem == SMALL else 0, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for number, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(block(inputs, width << number, 2 if number > 0 and i == 0 else 1))
                inputs = (width << number) * block.growth
            setattr(self, "layer%d" % (number + 1), nn.Sequential(*blocks))
        self.features = inputs

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.stem == IMAGENET:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class ProjectorLayer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear_layer = nn.Linear(inputs, outputs, bias=False)
        self.bn_layer = nn.BatchNorm1d(outputs)

    def forward(self, x):
        return self.bn_layer(self.linear_layer(x))


class Projector(nn.Module):
    """Layers are numbered 0, 2, 4, ...: the ReLUs between them take the odd places."""

    def __init__(self, inputs, layers, hidden, out):
        super().__init__()
        parts = []
        for i in range(layers):
            last = i == layers - 1
            parts.append(ProjectorLayer(inputs if i == 0 else hidden, out if last else hidden))
            if not last:
                parts.append(nn.ReLU())
        self.mlp = nn.Sequential(*parts)

    def forward(self, x):
        return self.mlp(x)


class Net(nn.Module):
    """Encoder and projector; parameters() order: the encoder's, then the projector's."""

    def __init__(self, depth, width, stem, layers, hidden, out, channels=3):
        super().__init__()
        self.encoder = ResNet(depth, width, stem, channels)
        self.projector = Projector(self.encoder.features, layers, hidden, out)

    def forward(self, x):
        features = self.encoder(x)
        return features, self.projector(features)


def plain(name):
    return name[len("encoder."):] if name.startswith("encoder.") else name


def parameters(net):
    """[(name, tensor)] in PyTorch's order; the list position is the parameter's index."""
    return [(plain(name), p) for name, p in net.named_parameters()]


def running(net):
    """[(name, tensor)] of the batch norms' running means and variances."""
    return [(plain(name), b) for name, b in net.named_buffers() if not name.endswith("num_batches_tracked")]


def start(net):
    """Sets the start values of formula.py (float32 values, in whatever type the net has)."""
    with torch.no_grad():
        for index, (name, p) in enumerate(parameters(net)):
            p.copy_(torch.from_numpy(formula.parameter(index, name, tuple(p.shape))))
    return net


def mio(z1, z2, tp=0.5, tn=0.5, weight=1.0):
    """MIO, balanced, as matrices."""
    pairs = len(z1)
    u = F.normalize(torch.cat([z1, z2]), eps=0.0)
    s = u @ u.T
    positive = torch.diagonal(s, pairs)
    negatives = F.softplus(s / tn, threshold=1e6)
    total = negatives.sum() - torch.diagonal(negatives).sum() - 2 * torch.diagonal(negatives, pairs).sum()
    return (F.softplus(-positive / tp, threshold=1e6).mean() + total / (2 * pairs * (2 * pairs - 2))
            + weight * F.mse_loss(u[:pairs], u[pairs:]))


def numpy(tensor):
    return tensor.detach().cpu().double().numpy()


def relative(value, truth):
    value, truth = np.asarray(value, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return float(np.linalg.norm((value - truth).reshape(-1)) / np.linalg.norm(truth.reshape(-1)))

"""Trains one encoder from one start on the same batches by libmio's algorithms and by PyTorch, and compares what comes out.

  MIO_LIBRARY=BUILD/lib/libmio.so.0 python3 compare_curves.py CIFAR10.tar.gz [--steps 500 --seeds 3 --out curves.json]

The archive is an image folder (train/CLASS/*.jpg, test/CLASS/*.jpg). A seed fixes the order and the views of the images, for
everyone alike; the start is the same for all seeds. Needs NumPy and PyTorch. Prints a line a run, then how far the runs of one
seed lie apart, beside how far runs of one contender with different seeds do: the noise of the data's order.
"""
import argparse
import itertools
import json
import os
import sys
import time

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "golden"), os.path.join(HERE, "..", "..", "bindings", "python")]
import mio  # noqa: E402
import model  # noqa: E402

MEAN, DEVIATION = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])
RATE = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 5e-4}
SIZE, OUT, HIDDEN = 32, 128, 512


def load(context, path, split):
    dataset = mio.Dataset.open(context, "folder", path, split)
    return np.stack([dataset.image(i) for i in range(len(dataset))]), dataset.labels()


def one_view(random, images):
    """Crops by up to four pixels, flips, brightness and contrast: normalised floats, count x height x width x channels."""
    count = len(images)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    places = random.integers(0, 9, (count, 2))
    view = np.stack([p[y:y + SIZE, x:x + SIZE] for p, (y, x) in zip(padded, places)]).astype(np.float32) / 255
    flip = random.random(count) < 0.5
    view[flip] = view[flip, :, ::-1]
    contrast, brightness = random.uniform(0.6, 1.4, (2, count, 1, 1, 1)).astype(np.float32)
    mean = view.mean((1, 2, 3), keepdims=True)
    return (np.clip(((view - mean) * contrast + mean) * brightness, 0, 1) - MEAN) / DEVIATION


def batches(images, options, seed):
    random = np.random.default_rng(seed)
    order = itertools.chain.from_iterable(random.permutation(len(images)) for _ in itertools.count())
    for _ in range(options.steps):
        chosen = images[list(itertools.islice(order, options.batch))]
        yield np.stack([one_view(random, chosen) for _ in range(2)])


def our_encoder(context, start, options, **parameters):
    builder = mio.Builder(context, 3, SIZE, SIZE)
    h = builder.resnet(builder.input(), 18, options.width, builder.SMALL)
    encoder = builder.finish(h, builder.projector(h, 2, HIDDEN, OUT))
    encoder.set(**parameters)
    encoder.set_normalization(MEAN, DEVIATION)
    copy_state(start, encoder)
    return encoder


def copy_state(net, encoder):
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            encoder.set_tensor(model.plain(name), model.numpy(value).astype(np.float32))


def train_ours(context, start, data, options, **parameters):
    encoder = our_encoder(context, start, options, **parameters)
    loss, losses = mio.Loss(context, "mio"), []
    optimizer = mio.Optimizer(context, "sgd", encoder, **RATE)
    for views in data:
        _, z = encoder.forward(views)
        value, *gradients = loss.compute(z[0], z[1])
        losses.append(value)
        encoder.backward(np.stack(gradients))
        optimizer.step()
    return losses, encoder


def train_torch(context, start, data, options):
    net = model.Net(18, options.width, model.SMALL, 2, HIDDEN, OUT)
    net.load_state_dict(start.state_dict())
    net = net.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE["learning_rate"], momentum=RATE["momentum"],
                                weight_decay=RATE["weight_decay"])
    losses = []
    for views in data:
        z = [net(torch.from_numpy(view).permute(0, 3, 1, 2))[1] for view in views]
        value = model.mio(*z)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses, our_encoder(context, net, options, algorithm="exact")


CONTENDERS = {"fast": lambda *a: train_ours(*a, algorithm="fast"), "exact": lambda *a: train_ours(*a, algorithm="exact"),
              "PyTorch": train_torch, "bf16": lambda *a: train_ours(*a, precision="bf16")}


def neighbours(context, encoder, train, test):
    knn = mio.Knn(context)
    knn.fit(encoder.embed(train[0]), train[1])
    return 100 * float(np.mean(knn.predict(encoder.embed(test[0])) == test[1]))


def means(losses, window=25):
    return np.asarray(losses)[:len(losses) // window * window].reshape(-1, window).mean(1)


def compare(runs):
    """Distances between loss curves (means of 25 steps, the largest apart) and k-NN accuracies."""
    names = list(dict.fromkeys(name for name, _ in runs))
    seeds = sorted({seed for _, seed in runs})
    for name in names:
        rows = [runs[name, seed] for seed in seeds]
        spread = max(np.abs(means(a["losses"]) - means(b["losses"])).max() for a in rows for b in rows)
        print("%-8s k-NN %s, mean %.2f; its seeds apart: loss %.4f" % (
            name, " ".join("%.2f" % r["knn"] for r in rows), np.mean([r["knn"] for r in rows]), spread))
    for a, b in itertools.combinations(names, 2):
        apart = max(np.abs(means(runs[a, s]["losses"]) - means(runs[b, s]["losses"])).max() for s in seeds)
        gap = np.mean([runs[a, s]["knn"] - runs[b, s]["knn"] for s in seeds])
        print("%s against %s, same seed: loss at most %.4f apart, mean k-NN %+.2f" % (a, b, apart, gap))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, comma-separated")
    parser.add_argument("--out", default="curves.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    context = mio.Context(threads=options.threads)
    train, test = load(context, options.archive, "train"), load(context, options.archive, "test")
    start = model.Net(18, options.width, model.SMALL, 2, HIDDEN, OUT)
    runs = {}
    for seed in range(1, options.seeds + 1):
        for name in options.only.split(","):
            began = time.monotonic()
            losses, encoder = CONTENDERS[name](context, start, batches(train[0], options, seed), options)
            runs[name, seed] = {"losses": losses, "knn": neighbours(context, encoder, train, test)}
            print("%-8s seed %d: last loss %.4f, k-NN %.2f, %.0f s" % (
                name, seed, means(losses)[-1], runs[name, seed]["knn"], time.monotonic() - began), flush=True)
            with open(options.out, "w") as file:
                json.dump([{"contender": n, "seed": s, **run} for (n, s), run in runs.items()], file)
    compare(runs)


if __name__ == "__main__":
    main()

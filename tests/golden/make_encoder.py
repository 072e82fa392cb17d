"""Writes encoder_<depth>_<stem>.txt.gz: forward, backward and running statistics of small ResNets.

Run:  /usr/bin/python3 make_encoder.py
Needs numpy and PyTorch (made with 1.13). The truth is computed in float64 from the float32 start values and images.
"""
import numpy as np
import torch

import formula
import model

torch.set_num_threads(2)

COUNT = 6  # images per view
SIZES = {model.IMAGENET: (40, 36), model.SMALL: (16, 20), model.SMALL_UNPADDED: (14, 18)}
WIDTHS = {18: 8, 34: 4, 50: 4}
HIDDEN, OUT = 24, 16

HEADER = """
ResNet-%d, base width %d, stem %s, projector 2 layers hidden %d out %d; batch norm eps 1e-5, momentum 0.1.
Views: %d images of 3 x %d x %d (formula, batch 0, views 0 and 1), forwarded one after the other in training mode.
Loss mio, tau 0.5 0.5, l2_weight 1, balanced. Computed by PyTorch in float64.
float32/*: how far PyTorch's own float32 is from these values, |float32 - float64| / |float64| over the whole array;
float32/gradients is over all parameters joined, float32/worst_gradient the largest of any one tensor (by its index).
parameter:NAME is index and shape; start:NAME is first value, last value, sum; gradient_norm:NAME and
gradient_sketch:NAME are the gradient's Euclidean norm and count-sketch; running:NAME are the running statistics after
both views; eval/features are view 1 in evaluation mode with these statistics.
"""


def run(depth, stem, dtype):
    net = model.start(model.Net(depth, WIDTHS[depth], stem, 2, HIDDEN, OUT).to(dtype))
    height, width = SIZES[stem]
    views = [torch.from_numpy(formula.images(0, v, COUNT, 3, height, width)).to(dtype) for v in range(2)]
    out = {"parameters": [(n, p.detach().clone()) for n, p in model.parameters(net)]}
    net.train()
    f1, z1 = net(views[0])
    f2, z2 = net(views[1])
    loss = model.mio(z1, z2)
    loss.backward()
    out["arrays"] = {"loss": model.numpy(loss), "train/features_1": model.numpy(f1), "train/features_2": model.numpy(f2),
                     "train/projections_1": model.numpy(z1), "train/projections_2": model.numpy(z2)}
    out["gradients"] = [model.numpy(p.grad) for _, p in model.parameters(net)]
    out["running"] = [(n, model.numpy(b)) for n, b in model.running(net)]
    net.eval()
    with torch.no_grad():
        out["arrays"]["eval/features"] = model.numpy(net(views[0])[0])
    return out


def write(depth, stem):
    truth, single = run(depth, stem, torch.float64), run(depth, stem, torch.float32)
    out = formula.Writer("encoder_%d_%s.txt.gz" % (depth, stem))
    out.comment(HEADER % ((depth, WIDTHS[depth], stem, HIDDEN, OUT, COUNT) + SIZES[stem]))
    images = [formula.images(0, v, COUNT, 3, *SIZES[stem]).astype(np.float64) for v in range(2)]
    out.record("images", [v for image in images for v in (image.flat[0], image.flat[-1], image.sum())])
    for name, value in truth["arrays"].items():
        out.float32(name, value)
        out.record("float32/" + name, [model.relative(single["arrays"][name], value)], "%.3g")

    def joined(run_):
        return np.concatenate([g.reshape(-1) for g in run_["gradients"]])
    out.record("float32/gradients", [model.relative(joined(single), joined(truth))], "%.3g")
    errors = [model.relative(s, t) for s, t in zip(single["gradients"], truth["gradients"])]
    out.record("float32/worst_gradient", [int(np.argmax(errors)), max(errors)], "%.3g")
    print(depth, stem, "loss %.9g" % truth["arrays"]["loss"], "float32 gradients %.2g worst tensor %.2g (%s)" % (
        model.relative(joined(single), joined(truth)), max(errors), truth["parameters"][int(np.argmax(errors))][0]),
        "features %.2g" % model.relative(single["arrays"]["train/features_2"], truth["arrays"]["train/features_2"]),
        "eval %.2g" % model.relative(single["arrays"]["eval/features"], truth["arrays"]["eval/features"]))
    print("   gradient norms: min %.3g max %.3g; feature std over images / mean %.3g" % (
        min(np.linalg.norm(g) for g in truth["gradients"]), max(np.linalg.norm(g) for g in truth["gradients"]),
        truth["arrays"]["train/features_1"].std(0).mean() / truth["arrays"]["train/features_1"].mean()))
    for index, ((name, p), gradient) in enumerate(zip(truth["parameters"], truth["gradients"])):
        out.record("parameter:" + name, [index] + list(p.shape))
        flat = p.numpy().reshape(-1)
        out.record("start:" + name, [flat[0], flat[-1], flat.sum()])
        out.float32("gradient_norm:" + name, [np.linalg.norm(gradient.reshape(-1))])
        out.float32("gradient_sketch:" + name, formula.sketch(index, gradient))
    for name, value in truth["running"]:
        out.float32("running:" + name, value)
    out.close()


if __name__ == "__main__":
    for depth in (18, 50):
        for stem in (model.IMAGENET, model.SMALL, model.SMALL_UNPADDED):
            write(depth, stem)

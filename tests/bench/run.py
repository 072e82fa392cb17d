"""Measures libmio and its peers alternately, call by call, in one run; writes NAME.json and NAME.md.

  python3 tests/bench/run.py --build BUILD [--quick] [--cpu] [--only step,loss,...] [--python PYTHON ...] [--out NAME]

The peers are those of PyTorch, torchvision, scikit-learn and ONNX Runtime that the given interpreters can import (default:
the one that runs this). Without --build's programs nothing can run: build the default targets first. --quick makes every
job small and short, to try things out; its figures mean nothing. A call during which something else kept the machine busy
is disturbed: it counts only where a contender has fewer than 3 others. --cpu times CPU time of one thread, for a machine that
is busy with other work.
"""
import argparse
import collections
import json
import math
import os
import platform
import subprocess
import sys
import tempfile

from alternate import Contender, Starter, alternate

HERE = os.path.dirname(os.path.abspath(__file__))
ALGORITHMS = ("fast", "accurate", "exact")
LOAD = ("import torch\nnet = torch.jit.load(%r)\nwith torch.no_grad():\n    net(torch.zeros(1, 3, 32, 32))\n"
        "print('embedded', flush=True)")
LOAD_ONNX = ("import numpy, onnxruntime\nnet = onnxruntime.InferenceSession(%r, providers=['CPUExecutionProvider'])\n"
             "net.run(None, {'images': numpy.zeros((1, 3, 32, 32), 'float32')})\nprint('embedded', flush=True)")

Job = collections.namedtuple("Job", "name title contenders rounds calls")


class Python:
    """An interpreter and the versions of what it can import."""

    def __init__(self, path, clock):
        self.path, self.clock = path, clock
        self.versions = {}
        for name in ("torch", "torchvision", "sklearn", "onnxruntime"):
            found = subprocess.run([path, "-c", "import %s; print(%s.__version__)" % (name, name)], capture_output=True,
                                   text=True)
            if found.returncode == 0:
                self.versions[name] = found.stdout.split()[-1]
            else:
                print("%s: no %s, its peers are skipped" % (path, name), flush=True)

    def torch(self, label, work, *arguments, precision="fp32"):
        command = [self.path, os.path.join(HERE, "compare_pytorch.py"), work, "--pause", *self.clock, *arguments]
        return Contender("PyTorch %s%s" % (self.versions["torch"], label and ", " + label), "peer", command, precision)

    def other(self, name, module, label, work, *arguments):
        command = [self.path, os.path.join(HERE, "compare_others.py"), work, "--pause", *self.clock, *arguments]
        return Contender("%s %s%s" % (name, self.versions[module], label and ", " + label), "peer", command)


class Bench:
    """What all jobs need; each method below makes one job or several."""

    def __init__(self, options):
        self.options, self.quick = options, options.quick
        self.clock = ("--clock", "cpu", "--threads", "1") if options.cpu else ()
        self.pythons = [Python(path, self.clock) for path in options.python or [sys.executable]]
        self.torches = [p for p in self.pythons if "torch" in p.versions]
        self.files = tempfile.mkdtemp(prefix="mio-bench-")
        with open("/proc/cpuinfo") as file:
            # PyTorch would emulate bf16 elsewhere, in minutes; libmio refuses it.
            self.precisions = ("fp32", "bf16") if "avx512_bf16" in file.read() else ("fp32",)

    def ours(self, label, work, *arguments, program="ours", precision="fp32"):
        command = [os.path.join(self.options.build, "tests", "bench", program)]
        command += [work] if program == "ours" else []
        return Contender("libmio" + (label and " " + label), "ours", [*command, "--pause", "1", *self.clock, *arguments],
                         precision)

    def file(self, extension):
        """An encoder of ours, or an export of PyTorch's by the first interpreter that can; None if none can."""
        path = os.path.join(self.files, "encoder." + extension)
        if extension == "mio":
            commands = [[os.path.join(self.options.build, "tests", "bench", "ours"), "save", "--file", path]]
        else:
            commands = [[p.path, os.path.join(HERE, "compare_pytorch.py"), "export", "--file", path] for p in self.torches]
        for command in commands:
            if os.path.exists(path):
                break
            subprocess.run(command, capture_output=True)
        return path if os.path.exists(path) else None

    def layouts(self, python, work, arguments, compiled):
        for precision in self.precisions:
            bf16 = ("--bf16",) if precision == "bf16" else ()
            for label, layout in (("NCHW", ()), ("channels_last", ("--channels-last",))):
                yield python.torch("%s %s" % (precision, label), work, *layout, *bf16, *arguments, precision=precision)
                if compiled and layout and not self.quick and not python.versions["torch"].startswith("1."):
                    yield python.torch("%s %s compiled" % (precision, label), work, "--compile", *layout, *bf16, *arguments,
                                       precision=precision)

    def one_step(self, depth, width, batch):
        shape = ("--depth", str(depth), "--width", str(width), "--batch", str(batch // 8 if self.quick else batch))
        contenders = [self.ours(a, "step", *shape, "--algorithm", a) for a in ALGORITHMS]
        contenders += [self.ours("bf16 " + a, "step", *shape, "--algorithm", a, "--precision", "bf16", precision="bf16")
                       for a in ALGORITHMS[:2] if "bf16" in self.precisions]
        for python in self.torches:
            # All wait in memory while one runs, with up to 5 GB for a ResNet-50: its slower layout stays out.
            contenders += [c for c in self.layouts(python, "step", shape, True) if depth < 50 or "NCHW" not in c.name]
        return Job("step-%d-w%d-b%d" % (depth, width, batch),
                   "training step, ResNet-%d width %d, %d images in two views" % (depth, width, batch), contenders, 12, 1)

    def step(self):
        yield self.one_step(18, 64, 64)
        yield self.one_step(18, 16, 128)
        yield self.one_step(50, 64, 32)

    def loss(self):
        shape = ("--pairs", "128" if self.quick else "1024", "--dim", "128", "--warm-up", "5")
        contenders = [self.ours("", "loss", *shape)]
        contenders += [p.torch(form, "loss", "--form", form, *shape) for p in self.torches
                       for form in ("matrix", "blocks", "closed")]
        yield Job("loss", "mio loss, value and gradients, 1024 pairs of 128", contenders, 20, 5)

    def losses(self):
        """One job a loss, so that each one's memory is known."""
        shape = ("--pairs", "128" if self.quick else "1024", "--dim", "128", "--warm-up", "3")
        program = os.path.join(self.options.build, "tests", "bench", "ours")
        for name in subprocess.run([program, "names"], capture_output=True, text=True, check=True).stdout.split():
            contenders = [self.ours("", "loss", "--name", name, *shape)]
            contenders += [p.torch("", "loss", "--name", name, *shape) for p in self.torches]
            calls = 1 if name in ("moco", "nnclr") else 5
            yield Job("losses-" + name, "loss %s, value and gradients, 1024 pairs of 128" % name, contenders, 12, calls)

    def augment(self):
        for size in (32, 96):
            shape = ("--batch", "32" if self.quick else "256", "--size", str(size))
            contenders = [self.ours("", "augment", *shape)]
            contenders += [p.torch(path, "augment", "--path", path, *shape) for p in self.torches
                           if "torchvision" in p.versions for path in ("tensor", "pil")]
            yield Job("augment-%d" % size, "256 views of %dx%d by the paper's pipeline, one core" % (size, size),
                      contenders, 10, 1)

    def embed(self):
        for batch in (1, 64):
            shape = ("--batch", str(batch), "--warm-up", "5")
            contenders = [self.ours(a, "embed", *shape, "--algorithm", a) for a in ALGORITHMS]
            contenders += [self.ours("bf16 " + a, "embed", *shape, "--algorithm", a, "--precision", "bf16", precision="bf16")
                           for a in ALGORITHMS[:2] if "bf16" in self.precisions]
            for python in self.torches:
                for engine in ("eager", "jit", "compile"):
                    if engine == "compile" and (self.quick or python.versions["torch"].startswith("1.")):
                        continue
                    contenders += [python.torch("%s %s %s" % (engine, precision, layout), "embed", "--engine", engine, *shape,
                                                *(["--bf16"] if precision == "bf16" else []),
                                                *(["--channels-last"] if layout == "channels_last" else []),
                                                precision=precision)
                                   for precision in self.precisions for layout in ("NCHW", "channels_last")]
            model = self.file("onnx") if any("onnxruntime" in p.versions for p in self.pythons) else None
            contenders += [p.other("ONNX Runtime", "onnxruntime", "", "embed", "--file", model, *shape)
                           for p in self.pythons if model and "onnxruntime" in p.versions]
            yield Job("embed-%d" % batch, "features of %d 32x32 image%s, ResNet-18 width 64" % (batch, "s" * (batch > 1)),
                      contenders, 12, 20 if batch == 1 else 3)

    def knn(self):
        shape = ("--bank", "5000", "--queries", "1000") if self.quick else ("--bank", "50000", "--queries", "10000")
        shape += ("--dim", "512", "--k", "200", "--warm-up", "1")
        contenders = [self.ours("", "knn", *shape)]
        contenders += [p.torch("chunks of %s" % chunk, "knn", "--chunk", chunk, *shape) for p in self.torches
                       for chunk in ("200", "1000")]
        contenders += [p.other("scikit-learn", "sklearn", metric, "knn", "--metric", metric, *shape)
                       for p in self.pythons if "sklearn" in p.versions for metric in ("cosine", "euclidean")]
        yield Job("knn", "200 nearest of 50,000 x 512 for 10,000 queries", contenders, 4, 1)

    def epoch(self):
        shape = ("--width", "16", "--batch", "128", "--images", "512" if self.quick else "2560", "--warm-up", "1")
        contenders = [self.ours(a, "epoch", *shape, "--algorithm", a) for a in ("fast", "exact")]
        for python in self.torches:
            for workers in ("0", "1", "2") if "torchvision" in python.versions else ():
                for precision in self.precisions:
                    contenders.append(python.torch("%s %s workers" % (precision, workers), "epoch", "--path", "pil",
                                                   "--channels-last", "--workers", workers, *shape,
                                                   *(["--bf16"] if precision == "bf16" else []), precision=precision))
        yield Job("epoch", "20 training steps with augmentation, ResNet-18 width 16, 128 images", contenders, 4, 1)

    def start(self):
        mio, script, onnx = self.file("mio"), self.file("pt"), self.file("onnx")
        program = os.path.join(self.options.build, "tests", "bench", "ours")
        contenders = [Starter("libmio", "ours", [program, "start", "--file", mio])]
        contenders += [Starter("PyTorch %s, TorchScript" % p.versions["torch"], "peer", [p.path, "-c", LOAD % script])
                       for p in self.torches if script]
        contenders += [Starter("ONNX Runtime %s" % p.versions["onnxruntime"], "peer", [p.path, "-c", LOAD_ONNX % onnx])
                       for p in self.pythons if onnx and "onnxruntime" in p.versions]
        yield Job("start", "process start to first embedding, ResNet-18 width 64", contenders, 8, 1)

    def conv(self):
        shape = ("--width", "16" if self.quick else "64", "--batch", "64")
        contenders = [self.ours(a, "conv", *shape, "--algorithm", a, program="bench_conv") for a in ALGORITHMS]
        for python in self.torches:
            contenders += [python.torch("fp32 " + label, "conv", *shape, *layout) for label, layout in
                           (("NCHW", ()), ("channels_last", ("--channels-last",)))]
        yield Job("conv", "convolutions of ResNet-18, 64 images, pass by pass", contenders, 5, 4)

    JOBS = (step, loss, losses, augment, embed, knn, epoch, start, conv)


def best(results, measure, kind, precision=None):
    """The one of `kind` with the lowest `measure`; libmio's algorithms count as one contender each, "fast" first."""
    found = [r for r in results if r["kind"] == kind and (precision is None or r["precision"] == precision)]
    return found[0] if found and kind == "ours" else min(found, key=lambda r: r[measure], default=None)


def detail(results):
    """A table of one case: everyone's times, and by how much the first of ours is faster."""
    ours = best(results, "min_ms", "ours")
    lines = ["| | min ms | median ms | calls (undisturbed) | peak MB | for the work MB | min / ours | median / ours |",
             "|---|---|---|---|---|---|---|---|"]
    for r in results:
        lines.append("| %s | %.3f | %.3f | %d (%d) | %s | %s | %.2f | %.2f |" % (
            r["contender"], r["min_ms"], r["median_ms"], r["calls"], r["undisturbed"], *("%.0f" % r[m] if r[m] else "" for m in ("peak_mb", "work_mb")),
            r["min_ms"] / ours["min_ms"], r["median_ms"] / ours["median_ms"]))
    return lines


def ratios(results):
    """[(precision, measure, ours, its time, best peer, its time)]"""
    found = []
    for precision in ("fp32", "bf16"):
        for measure in ("min_ms", "median_ms"):
            peer = best(results, measure, "peer", precision)
            for ours in (r for r in results if r["kind"] == "ours" and peer):
                found.append((precision, measure, ours["contender"], ours[measure], peer["contender"], peer[measure]))
    return found


def summary(results):
    rows = collections.OrderedDict()
    for precision, measure, ours, mine, peer, theirs in ratios(results):
        rows.setdefault((ours, precision), {})[measure] = (mine, peer, theirs)
    return ["%s against %s: x%.2f min (%.3f, %s %.3f ms), x%.2f median (%.3f, %s %.3f ms)" % (
        ours, precision, *(part for m in ("min_ms", "median_ms")
                           for part in (row[m][2] / row[m][0], row[m][0], row[m][1], row[m][2])))
        for (ours, precision), row in rows.items()]


def layer_table(cases):
    """One row a convolution and pass; geometric means below. cases: {case: results}"""
    names = [r["contender"] for r in next(iter(cases.values()))]
    ours = [r["contender"] for r in next(iter(cases.values())) if r["kind"] == "ours"]
    lines = ["| layer and pass, min ms | " + " | ".join(names) + " | best peer / " + " | / ".join(ours) + " |",
             "|---" * (1 + len(names) + len(ours)) + "|"]
    means = {}
    for case, results in cases.items():
        peer = best(results, "min_ms", "peer")
        gains = [peer["min_ms"] / r["min_ms"] for r in results if r["kind"] == "ours"] if peer else []
        lines.append("| %s | %s |" % (case, " | ".join(["%.2f" % r["min_ms"] for r in results] + ["%.2f" % g for g in gains])))
        means.setdefault("3x3 stride 1" if "k3s1" in case else "the others", []).append(gains)
    for group, rows in means.items():
        gains = [(math.exp(sum(map(math.log, column)) / len(column)), min(column)) for column in zip(*rows)]
        lines.append("| %s: geometric mean (worst) | %s %s |" % (group, "| " * len(names),
                                                               " | ".join("%.2f (%.2f)" % gain for gain in gains)))
    return lines


def machine():
    facts = {"system": platform.platform(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    with open("/proc/cpuinfo") as file:
        facts["cpu"] = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    with open("/proc/meminfo") as file:
        facts["memory_gb"] = round(int(file.readline().split()[1]) / 1e6, 1)
    return facts


def measure(job, quick, patience):
    print("%s: %s" % (job.name, job.title), flush=True)
    results, shares = alternate(job.contenders, 2 if quick else job.rounds, 2 if quick and job.calls > 1 else job.calls,
                                 5 if quick else 300 if job.name != "conv" else 20,
                                 patience)
    cases = collections.OrderedDict()
    for r in results:
        cases.setdefault(r["case"], []).append(r)
    lines = ["", "### %s: %s" % (job.name, job.title), ""]
    if len(cases) > 1:
        lines += layer_table(cases)
    for case in cases.values() if len(cases) == 1 else ():
        lines += detail(case)
        print("\n".join("  " + line for line in summary(case)))
    note = "CPUs kept busy meanwhile: %(waiting_cpu).2f by the waiting processes, %(foreign_cpu).2f by others" % shares
    print("  " + note, flush=True)
    return {"job": job.name, "title": job.title, "results": results, **shares}, lines + ["", note + "."]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="build folder of meson")
    parser.add_argument("--python", action="append", help="an interpreter with peers; may be given several times")
    parser.add_argument("--only", help="jobs, comma-separated, or single ones like step-50-w64-b32: " +
                        ",".join(f.__name__ for f in Bench.JOBS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="CPU time of one thread instead of wall time")
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS",
                        help="how long a job may wait for moments in which nothing else keeps the machine busy")
    parser.add_argument("--out", default="bench", help="NAME of NAME.json and NAME.md")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else [f.__name__ for f in Bench.JOBS]
    unknown = {name.partition("-")[0] for name in chosen} - {f.__name__ for f in Bench.JOBS}
    if unknown:
        parser.error("no such job: " + ", ".join(sorted(unknown)))
    bench = Bench(options)
    record = {"machine": machine(), "quick": options.quick, "jobs": [],
              "versions": [p.versions for p in bench.pythons]}
    lines = ["%(cpu)s, %(cpus)s CPUs, %(memory_gb)s GB, %(system)s" % record["machine"]]
    for make in (f for f in Bench.JOBS if any(name.partition("-")[0] == f.__name__ for name in chosen)):
        for job in make(bench):
            if make.__name__ not in chosen and job.name not in chosen:
                continue
            done, table = measure(job, options.quick, options.patience)
            record["jobs"].append(done)
            lines += table
            with open(options.out + ".json", "w") as file:  # what there is so far, should a later job be interrupted
                json.dump(record, file, indent=1)
            with open(options.out + ".md", "w") as file:
                file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

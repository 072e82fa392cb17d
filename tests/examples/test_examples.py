#!/usr/bin/env python3
"""Runs every example program on made-up images: what it prints and writes, its exit codes, stopping and resuming."""
import html.parser
import json
import math
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import images

PROGRAMS = pathlib.Path(sys.argv.pop(1))
# A net and batches as small as they get, so that a step takes milliseconds.
STEPS = 32
SMALL = ["--recipe", "mio-tiny", "--set", "loader.batch_size=40", "--set", "schedule.learning_rate=0.2", "--set",
         f"trainer.steps={STEPS}", "--set", f"schedule.total={STEPS}", "--set", "trainer.monitor_interval=4", "--threads", "2", "--seed", "3"]
TIMES = {"images_per_second", "step_seconds", "wait_seconds"}


def run(name, *arguments, code=0):
    """Runs a program to its end, checks the exit code, returns (stdout, stderr)."""
    done = subprocess.run([PROGRAMS / name, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if done.returncode != code:
        raise AssertionError(f"{name} {arguments} left with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def metrics_of(run_folder):
    """The metrics without what depends on the clock."""
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


class WithData(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        cls.idx = cls.folder / "idx"
        images.write_idx(cls.idx)
        cls.names = images.write_folder(cls.folder / "flat")
        cls.data = ["--dataset", "idx", cls.idx, "train"]
        cls.whole = cls.folder / "whole"
        run("pretrain", *cls.data, *SMALL, "--output", cls.whole)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()


class Alone(unittest.TestCase):
    def test_loss_only_prints_the_formula(self):
        z1, z2 = [(1.0, 0.1), (-0.5, 0.9), (-0.4, -1.2)], [(0.9, 0.3), (-0.2, 1.1), (0.3, -0.8)]
        unit = [(x / math.hypot(x, y), y / math.hypot(x, y)) for x, y in z1 + z2]
        softplus = [math.log1p(math.exp((-1 if abs(i - j) == 3 else 1) * 2 * (a[0] * b[0] + a[1] * b[1])))
                    for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j]
        positive = [abs(i - j) == 3 for i in range(6) for j in range(6) if i != j]
        value = (sum(s for s, p in zip(softplus, positive) if p) / 6
                 + sum(s for s, p in zip(softplus, positive) if not p) / 24
                 + sum((a - b) ** 2 for u, v in zip(unit[:3], unit[3:]) for a, b in zip(u, v)) / 6)
        printed, _ = run("loss_only")
        self.assertAlmostEqual(float(printed.splitlines()[0].split("=")[1]), value, delta=2e-12)
        self.assertEqual(len(printed.splitlines()), 7)

    def test_custom_encoder_learns(self):
        printed, _ = run("custom_encoder")
        losses = [float(line.split()[-1]) for line in printed.splitlines()]
        self.assertEqual(len(losses), 7)
        self.assertLess(losses[-1], losses[0] - 0.05)

    def test_help_and_list_come_from_the_library(self):
        listed, _ = run("pretrain", "--list")
        for word in ("idx", "cifar10", "mio", "nt_xent", "lars", "cosine", "mio-paper", "mio-tiny"):
            self.assertIn(word, listed.split())
        shown, _ = run("pretrain", "--help", "--recipe", "mio-tiny", "--loss", "nt_xent", "--set",
                       "loss.temperature=0.25")
        for word in ("loss.temperature", "optimizer.", "loader.batch_size", "trainer.epochs", "0.25"):
            self.assertIn(word, shown)
        self.assertNotIn("loss.l2_weight", shown)
        for program in ("evaluate", "embed", "report", "compare_losses"):
            self.assertIn("usage: " + program, run(program, "--help")[0])


class Pretrain(WithData):
    def test_writes_metrics_encoder_and_checkpoint(self):
        metrics = metrics_of(self.whole)
        self.assertEqual([m["step"] for m in metrics], list(range(1, STEPS + 1)))
        self.assertTrue(all(math.isfinite(m["loss"]) and m["learning_rate"] >= 0 for m in metrics))
        taken = [m["step"] for m in metrics if m["effective_rank"] is not None]
        self.assertEqual(taken, list(range(1, STEPS, 4)))
        self.assertTrue((self.whole / "encoder.mio").stat().st_size > 1000)
        self.assertTrue((self.whole / "checkpoint.mio").stat().st_size > 1000)

    def test_does_not_depend_on_threads(self):
        other = self.folder / "one_thread"
        run("pretrain", *self.data, *SMALL, "--threads", 1, "--output", other)
        self.assertEqual(metrics_of(other), metrics_of(self.whole))
        self.assertEqual((other / "encoder.mio").read_bytes(), (self.whole / "encoder.mio").read_bytes())

    def interrupted(self, name, number, *options):
        """Starts a run, signals it once three steps are written, returns (folder, exit code, stderr)."""
        folder = self.folder / name
        child = subprocess.Popen([PROGRAMS / "pretrain", *self.data, *SMALL, "--output", folder, *map(str, options)],
                                 stderr=subprocess.PIPE, text=True)
        file = folder / "metrics.jsonl"
        ends = time.monotonic() + 60
        while time.monotonic() < ends and child.poll() is None:
            if file.exists() and file.read_bytes().count(b"\n") > 2:
                break
            time.sleep(0.001)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
        return folder, child.returncode, said

    def resume_and_compare(self, folder):
        run("pretrain", *self.data, *SMALL, "--output", folder, "--resume")
        self.assertEqual(metrics_of(folder), metrics_of(self.whole))
        self.assertEqual((folder / "encoder.mio").read_bytes(), (self.whole / "encoder.mio").read_bytes())

    def test_ctrl_c_leaves_a_checkpoint_that_goes_on_bit_for_bit(self):
        for name, number in (("int", signal.SIGINT), ("term", signal.SIGTERM)):
            folder, code, said = self.interrupted(name, number, "--checkpoint-every", 1000)
            self.assertEqual(code, 128 + number, said)
            self.assertIn("--resume", said)
            self.assertFalse((folder / "encoder.mio").exists())
            self.assertLess(len(metrics_of(folder)), STEPS)
            run("embed", folder / "checkpoint.mio", self.folder / "flat")  # the checkpoint holds a readable encoder
            self.resume_and_compare(folder)

    def test_killed_run_goes_on_from_its_last_checkpoint(self):
        folder, code, _ = self.interrupted("kill", signal.SIGKILL, "--checkpoint-every", 2)
        self.assertEqual(code, -signal.SIGKILL)
        with open(folder / "metrics.jsonl", "a") as file:  # what a run writes beyond its checkpoint, cut short
            file.write('{"step": 30, "epoch": 3, "loss": 1}\n{"step": 31, "epo')
        self.resume_and_compare(folder)

    def test_two_halves_equal_the_whole_bit_for_bit(self):
        folder = self.folder / "halves"
        run("pretrain", *self.data, *SMALL, "--set", "trainer.steps=20", "--output", folder)
        self.assertEqual(metrics_of(folder), metrics_of(self.whole)[:20])
        self.resume_and_compare(folder)

    def test_tuned_run_can_be_repeated(self):
        folder, again, resumed = (self.folder / name for name in ("tuned", "tuned_again", "tuned_halves"))
        run("pretrain", *self.data, *SMALL, "--output", folder, "--tune", 0)
        table = folder / "tuning.txt"
        self.assertTrue(table.read_text().startswith("libmio tuning 1\n"))
        run("pretrain", *self.data, *SMALL, "--output", again, "--tuning", table, "--threads", 1)
        run("pretrain", *self.data, *SMALL, "--output", resumed, "--tuning", table, "--set", "trainer.steps=20")
        run("pretrain", *self.data, *SMALL, "--output", resumed, "--resume")  # the checkpoint has the table
        for other in (again, resumed):
            self.assertEqual((other / "encoder.mio").read_bytes(), (folder / "encoder.mio").read_bytes())
        _, said = run("pretrain", *self.data, *SMALL, "--output", self.folder / "x", "--tune", 1, "--tuning", table, code=2)
        self.assertIn("exclude", said)

    def test_finished_run_is_not_overwritten(self):
        _, said = run("pretrain", *self.data, *SMALL, "--output", self.whole, code=2)
        self.assertIn("--resume", said)
        before = (self.whole / "encoder.mio").read_bytes()
        run("pretrain", *self.data, *SMALL, "--output", self.whole, "--resume")  # nothing is left to do
        self.assertEqual((self.whole / "encoder.mio").read_bytes(), before)
        self.assertEqual(len(metrics_of(self.whole)), STEPS)

    def test_progress_bar_on_a_terminal(self):
        try:
            terminal, other_end = pty.openpty()
        except OSError as without:  # a bare root without /dev/pts
            self.skipTest(str(without))
        child = subprocess.Popen([PROGRAMS / "pretrain", *self.data, *SMALL, "--output", self.folder / "bar"],
                                 stderr=other_end)
        os.close(other_end)
        said = b""
        try:
            while True:
                said += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            pass
        os.close(terminal)
        self.assertEqual(child.wait(60), 0)
        for part in (b"\r[", f"step {STEPS}/{STEPS}".encode(), b"images/s", b"loss", b"left"):
            self.assertIn(part, said)

    def test_mistakes_are_named(self):
        out = ["--output", self.folder / "never"]
        for culprit, arguments in (
                ("--nonsense", [*self.data, *out, "--nonsense"]),
                ("--output", self.data),
                ("--seed", [*self.data, *out, "--seed"]),
                ("many", [*self.data, *out, "--threads", "many"]),
                ("mio-huge", [*self.data, *out, "--recipe", "mio-huge"]),
                ("no_loss", [*self.data, *out, "--loss", "no_loss"]),
                ("temprature", [*self.data, *out, "--set", "loss.temprature=1"]),
                ("--set", [*self.data, *out, "--set", "loss.l2_weight"]),
                ("mnist", ["--dataset", "mnist", self.idx, *out]),
                ("valid", ["--dataset", "idx", self.idx, "valid", *out])):
            _, said = run("pretrain", *arguments, code=2)
            self.assertIn(culprit, said)
        _, said = run("pretrain", "--dataset", "idx", self.folder / "nowhere", "train", *out, code=1)
        self.assertIn("nowhere", said)


class Results(WithData):
    def test_evaluate(self):
        path = self.folder / "results.json"
        printed, _ = run("evaluate", self.whole / "encoder.mio", "--dataset", "idx", self.idx, "--raw", "--untrained",
                         "--knn", "both", "--probe", "both", "--finetune", "0.5,1", "--epochs", 2, "--json", path)
        rows = json.loads(path.read_text())
        self.assertEqual([row["encoder"] for row in rows], ["raw pixels"] * 2 + ["untrained"] * 4 + ["trained"] * 6)
        self.assertEqual(len({(row["encoder"], row["method"]) for row in rows}), 12)
        for row in rows:
            self.assertTrue(0 <= row["accuracy"] <= 1 and row["seconds"] >= 0)
            self.assertIn(f"{100 * row['accuracy']:.2f} %", printed)
        self.assertGreater(max(row["accuracy"] for row in rows), 0.5)  # four classes, easily told apart

    def test_evaluate_classes_by_name(self):
        """A class without test images shifts no labels; one without training images is refused."""
        some = self.folder / "some"
        images.write_classes(some / "train", [0, 1, 2])
        images.write_classes(some / "test", [1, 2], seed=4)
        images.write_classes(some / "more", [1, 3], seed=5)
        arguments = ["evaluate", self.whole / "encoder.mio", "--dataset", "folder", some, "--raw", "--probe", "none",
                     "--knn", "dino", "--json", self.folder / "some.json"]
        run(*arguments)
        rows = json.loads((self.folder / "some.json").read_text())
        self.assertGreater(min(row["accuracy"] for row in rows), 0.6)  # shifted labels would leave a third at most
        self.assertIn("class 'd'", run(*arguments, "--test", "more", code=1)[1])

    def test_compare_losses_finds_mistakes_first(self):
        page = self.folder / "never.html"
        printed, said = run("compare_losses", "--dataset", "idx", self.idx, *SMALL, "--losses", "mio,byol", "--output",
                            page, code=1)
        self.assertIn("byol", said)
        self.assertNotIn("untrained", printed)

    def test_evaluate_mistakes(self):
        encoder, data = self.whole / "encoder.mio", ["--dataset", "idx", self.idx]
        for culprit, arguments in (("fast", [encoder, *data, "--probe", "fast"]),
                                   ("some", [encoder, *data, "--finetune", "some"]),
                                   ("label_fraction", [encoder, *data, "--probe", "none", "--finetune", "1,2"]),
                                   ("--dataset", [encoder])):
            self.assertIn(culprit, run("evaluate", *arguments, code=2)[1])
        self.assertIn("t10k-images", run("evaluate", self.idx / "t10k-images-idx3-ubyte", *data, code=1)[1])

    def test_embed(self):
        npy, csv, names = (self.folder / name for name in ("f.npy", "f.csv", "names.txt"))
        encoder, folder = self.whole / "encoder.mio", self.folder / "flat"
        printed, _ = run("embed", encoder, folder, "--npy", npy, "--csv", csv, "--names", names, "--query", 3,
                         "--neighbours", 5)
        data = npy.read_bytes()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        length = struct.unpack("<H", data[8:10])[0]
        self.assertEqual((10 + length) % 64, 0)
        header = eval(data[10:10 + length], {}, {})
        rows, dim = header["shape"]
        self.assertEqual((header["descr"], header["fortran_order"], rows), ("<f4", False, len(self.names)))
        values = struct.unpack(f"<{rows * dim}f", data[10 + length:])
        self.assertEqual(names.read_text().splitlines(), self.names)
        for i, line in enumerate(csv.read_text().splitlines()):
            cells = line.split(",")
            self.assertEqual(cells[0], f'"{self.names[i]}"')
            in_csv = struct.unpack(f"<{dim}f", struct.pack(f"<{dim}f", *map(float, cells[1:])))
            self.assertEqual(in_csv, values[i * dim:(i + 1) * dim])
        found = [line.split() for line in printed.splitlines()[1:]]
        self.assertEqual(len(found), 5)
        self.assertNotIn("3", [line[0] for line in found])

        def cosine(i, j):
            a, b = values[i * dim:(i + 1) * dim], values[j * dim:(j + 1) * dim]
            return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        best = sorted((-cosine(3, j), j) for j in range(rows) if j != 3)[:5]
        for line, (similarity, _) in zip(found, best):
            self.assertAlmostEqual(float(line[1]), -similarity, delta=2e-4)
            self.assertEqual(line[2], self.names[int(line[0])])
        self.assertIn("24 images", run("embed", encoder, folder, "--query", 24, code=2)[1])

    def compare(self, name, *options):
        page, numbers = self.folder / f"{name}.html", self.folder / f"{name}.jsonl"
        printed, _ = run("compare_losses", "--dataset", "idx", self.idx, "--output", page, "--json", numbers, "--steps", 12,
                         "--points", 6, "--pairs", 32, "--seed", 3, "--set", "loader.batch_size=40", "--set",
                         "encoder.base_width=8", *options)
        return printed, page.read_text(), numbers.read_text()

    def test_compare_losses(self):
        printed, page, numbers = self.compare("compared", "--losses", "mio,nt_xent,dclw", "--spectrum", 4)
        self.assertEqual(numbers, self.compare("again", "--losses", "mio,nt_xent,dclw", "--spectrum", 4, "--threads", 1)[2])
        lines = [json.loads(line) for line in numbers.splitlines()]
        curves = {loss: [line for line in lines if line["loss"] == loss and "step" in line]
                  for loss in ("mio", "nt_xent", "dclw")}
        for points in curves.values():
            self.assertEqual([point["step"] for point in points], [0, 2, 4, 6, 8, 10, 12])
            for point in points:
                self.assertTrue(all(math.isfinite(value) for name, value in point.items() if name != "loss"))
                self.assertTrue(0 <= point["alignment"] <= 4 and -8 <= point["uniformity"] <= 0)
                self.assertLess(max(point["positive_pairs"], point["negative_pairs"]), math.log(2))
                self.assertLess(point["info_nce"], math.log(63))
        same = [{k: v for k, v in points[0].items() if k != "loss"} for points in curves.values()]
        self.assertTrue(same[0] == same[1] == same[2])  # all from one start
        self.assertNotEqual(curves["mio"][-1]["info_nce"], curves["nt_xent"][-1]["info_nce"])
        spectra = {(line["loss"], line["hessian"], line["when"]): line for line in lines if "hessian" in line}
        self.assertEqual(set(spectra), {(loss, by, when) for loss in ("mio", "nt_xent") for by in ("rows", "weights")
                                        for when in ("start", "end")})  # the gradient of dclw is no function's
        for (_, by, _), line in spectra.items():
            self.assertEqual(len(line["eigenvalues"]), len(line["shares"]))
            self.assertEqual(len(line["eigenvalues"]), 4 * 64 if by == "rows" else 4)
            self.assertAlmostEqual(sum(line["shares"]), 1, places=9)
            self.assertGreater(max(line["eigenvalues"]), 0)
        accuracies = [line for line in lines if "knn" in line]
        for line in accuracies:
            self.assertIn(f"{100 * line['knn']:.2f} %", printed)
            self.assertIn(f"{100 * line['linear']:.2f} %", page)
        self.assertEqual(len(accuracies), 3)
        self.assertEqual(page.count("<svg"), 5 + 2 + 2)
        self.assertNotIn("nan", page.lower())

    def test_compare_losses_mistakes(self):
        out = ["--dataset", "idx", self.idx, "--output", self.folder / "never.html"]
        for culprit, arguments in (("no_loss", [*out, "--losses", "mio,no_loss"]), ("--output", out[:3]),
                                   ("nonsense", [*out, "--set", "nonsense"]), ("--pairs", [*out, "--pairs", 1]),
                                   ("mio-huge", [*out, "--recipe", "mio-huge"])):
            self.assertIn(culprit, run("compare_losses", *arguments, code=2)[1])
        self.assertFalse((self.folder / "never.html").exists())

    def test_report(self):
        page, results = self.folder / "page.html", self.folder / "knn.json"
        run("evaluate", self.whole / "encoder.mio", "--dataset", "idx", self.idx, "--untrained", "--probe", "none",
            "--json", results)
        run("report", "--run", self.whole, "--dataset", "idx", self.idx, "test", "--evaluation", results, "--classes",
            "flat,rising,<steep>,falling", "--title", "Gratings & more", "--html", page)
        text = page.read_text()
        counts = {}

        class Counter(html.parser.HTMLParser):
            def handle_starttag(self, tag, attributes):
                counts[tag] = counts.get(tag, 0) + 1
        Counter().feed(text)
        self.assertEqual(counts["img"], images.CLASSES * (1 + 2 * 8))
        self.assertEqual(counts["svg"], 2 + 1 + 9)
        self.assertNotIn("script", counts)
        self.assertNotIn("steep", counts)
        for part in ("&lt;steep&gt;", "Gratings &amp; more", "untrained", "k-NN (k 200, T 0.1)"):
            self.assertIn(part, text)
        self.assertNotIn("nan", re.sub('src="[^"]*"', "", text).lower())
        for part in ("http:", "https:"):
            self.assertNotIn(part, text)


if __name__ == "__main__":
    unittest.main(verbosity=1)

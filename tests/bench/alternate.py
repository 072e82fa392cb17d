"""Runs benchmark processes alternately: while one works, the others wait for a line of input."""
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
SETTLE = 0.05  # seconds for the last one's threads to stop spinning
QUIET = 0.1    # CPUs that the rest of the machine may keep busy during a call that counts as undisturbed


def busy_seconds():
    """CPU time of the whole machine so far, idle and waiting for disks left out."""
    with open("/proc/stat") as file:
        fields = [int(text) for text in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def wait_for_quiet(patience):
    """Waits until the machine is idle, at most `patience` seconds; returns what is left of them."""
    while patience > 0:
        before = busy_seconds()
        time.sleep(0.5)
        if busy_seconds() - before <= 0.5 * QUIET:
            break
        patience -= 0.5
    return patience


class Failed(Exception):
    pass


class Contender:
    """One process that times its own calls (pace.h, pace.py). kind: "ours" or "peer"; precision: "fp32" or "bf16"."""

    def __init__(self, name, kind, command, precision="fp32"):
        self.name, self.kind, self.command, self.precision = name, kind, command, precision
        self.process, self.log, self.memory, self.cases = None, None, {}, []
        self.times, self.disturbed = {}, {}  # of each case: milliseconds, and whether something else was running

    def start(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True)
        while True:  # a library may print before it
            line = self.answer()
            if line.split()[:1] == ["ready"]:
                self.cases = line.split()[1:]
                return

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise Failed((self.log.read().strip().splitlines() or ["ended without a word"])[-1])
        return line

    def go(self, case, calls):
        self.process.stdin.write("%s %d\n" % (case, calls))
        self.process.stdin.flush()
        return [float(text) for text in self.answer().split()]

    def keep(self, case, times, disturbed):
        self.times.setdefault(case, []).extend(times)
        self.disturbed.setdefault(case, []).extend([disturbed] * len(times))

    def cpu_seconds(self):
        """Of the process with its children (a data loader's workers)."""
        total, pids = 0, [self.process.pid]
        while pids:
            pid = pids.pop()
            try:
                with open("/proc/%d/stat" % pid) as file:
                    fields = file.read().rpartition(")")[2].split()
                with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
                    pids += map(int, file.read().split())
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / TICK
        return total

    def stop(self):
        if not self.process:
            return
        try:
            self.process.stdin.close()
            self.memory = json.loads(self.process.stdout.read().strip().splitlines()[-1])
            self.process.wait(60)
        except (OSError, ValueError, LookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def result(self, case):
        """Of the undisturbed calls, or of all where fewer than 3 were."""
        times = self.times[case]
        quiet = [t for t, disturbed in zip(times, self.disturbed[case]) if not disturbed]
        used = quiet if len(quiet) >= 3 else times
        return {"contender": self.name, "kind": self.kind, "precision": self.precision, "case": case, "min_ms": min(used),
                "median_ms": statistics.median(used), "calls": len(times), "undisturbed": len(quiet),
                "peak_mb": self.memory.get("peak_mb"), "work_mb": self.memory.get("work_mb")}


class Starter(Contender):
    """A command timed from its start to its first line of output, afresh at every call."""

    used = 0

    def start(self):
        self.cases = ["start"]
        self.go("start", 1)  # files into the page cache

    def go(self, case, calls):
        times = []
        for _ in range(calls):
            before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            line = process.stdout.readline()
            elapsed = 1e3 * (time.perf_counter() - begin)
            error = process.communicate()[1]
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.used += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            if line.strip() != "embedded":
                raise Failed((error.strip().splitlines() or ["no line 'embedded'"])[-1])
            times.append(elapsed)
        return times

    def cpu_seconds(self):
        return self.used

    def stop(self):
        pass


def attempt(contender, action, say):
    """Whether it worked."""
    try:
        action()
        return True
    except (Failed, OSError) as error:
        say("  left out: %s (%s)" % (contender.name, str(error)[:200]))
        contender.stop()
        return False


def alternate(contenders, rounds, calls, budget=None, patience=0, say=print):
    """Every contender in turn, `calls` calls of each case, `rounds` times, or fewer once `budget` seconds are spent (at least
    2); before each turn it waits for a quiet machine, at most `patience` seconds in all. Returns the results and
    {"waiting_cpu": CPUs that the waiting processes kept busy, "foreign_cpu": CPUs that anything else kept busy meanwhile}."""
    live = [c for c in contenders if attempt(c, c.start, say)]
    waited = foreign = clock = 0
    cases = live[0].cases if live else []
    for case in cases:
        begin, left, slept = time.perf_counter(), patience / len(cases), 0
        for turn in range(rounds):
            if budget and turn >= 2 and time.perf_counter() - begin - slept > budget:
                break
            for contender in list(live):
                rest = wait_for_quiet(left)
                slept, left = slept + left - rest, rest
                others = [c for c in live if c is not contender]
                counters = (time.perf_counter, busy_seconds, contender.cpu_seconds,
                            lambda: sum(c.cpu_seconds() for c in others))
                before, times = [count() for count in counters], []
                time.sleep(SETTLE)  # also makes the shortest call long enough to see who else was running
                if not attempt(contender, lambda: times.extend(contender.go(case, calls)), say):
                    live.remove(contender)
                    continue
                elapsed, busy, own, waiting = (count() - was for count, was in zip(counters, before))
                contender.keep(case, times, busy - own > QUIET * elapsed + 1 / TICK)
                clock, waited, foreign = clock + elapsed, waited + waiting, foreign + busy - own - waiting
    for contender in live:
        contender.stop()
    results = [c.result(case) for c in live for case in c.cases if case in c.times]
    return results, {"waiting_cpu": waited / clock if clock else 0, "foreign_cpu": max(0, foreign) / clock if clock else 0}

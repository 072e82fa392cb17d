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


def busy_seconds():
    """CPU time of the whole machine so far, idle and waiting for disks left out."""
    with open("/proc/stat") as file:
        fields = [int(text) for text in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


class Failed(Exception):
    pass


class Contender:
    """One process that times its own calls (pace.h, pace.py). kind: "ours" or "peer"; precision: "fp32" or "bf16"."""

    def __init__(self, name, kind, command, precision="fp32"):
        self.name, self.kind, self.command, self.precision = name, kind, command, precision
        self.process, self.log, self.times, self.peak, self.cases = None, None, {}, None, []

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
        self.times.setdefault(case, []).extend(float(text) for text in self.answer().split())

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
            self.peak = json.loads(self.process.stdout.read().strip().splitlines()[-1])["peak_mb"]
            self.process.wait(60)
        except (OSError, ValueError, LookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def result(self, case):
        times = self.times[case]
        return {"contender": self.name, "kind": self.kind, "precision": self.precision, "case": case,
                "min_ms": min(times), "median_ms": statistics.median(times), "calls": len(times), "peak_mb": self.peak}


class Starter(Contender):
    """A command timed from its start to its first line of output, afresh at every call."""

    used = 0

    def start(self):
        self.cases = ["start"]
        self.go("start", 1)  # files into the page cache
        self.times = {}

    def go(self, case, calls):
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
            self.times.setdefault(case, []).append(elapsed)

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


def alternate(contenders, rounds, calls, budget=None, say=print):
    """Every contender in turn, `calls` calls of each case, `rounds` times, or fewer once `budget` seconds are spent (at least
    2). Returns the results and {"waiting_cpu": CPUs that the waiting processes kept busy, "foreign_cpu": CPUs that anything
    else on the machine kept busy meanwhile}."""
    live = [c for c in contenders if attempt(c, c.start, say)]
    waited = foreign = clock = 0
    for case in live[0].cases if live else []:
        begin = time.perf_counter()
        for turn in range(rounds):
            if budget and turn >= 2 and time.perf_counter() - begin > budget:
                break
            for contender in list(live):
                time.sleep(SETTLE)
                others = [c for c in live if c is not contender]
                spent = [lambda: time.perf_counter(), busy_seconds, contender.cpu_seconds,
                         lambda: sum(c.cpu_seconds() for c in others)]
                before = [count() for count in spent]
                if not attempt(contender, lambda: contender.go(case, calls), say):
                    live.remove(contender)
                    continue
                elapsed, busy, own, waiting = (count() - was for count, was in zip(spent, before))
                clock += elapsed
                waited += waiting
                foreign += busy - own - waiting
    for contender in live:
        contender.stop()
    results = [c.result(case) for c in live for case in c.cases if case in c.times]
    return results, {"waiting_cpu": waited / clock if clock else 0, "foreign_cpu": max(0, foreign) / clock if clock else 0}

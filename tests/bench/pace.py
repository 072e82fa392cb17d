"""What the peers' scripts share: the clock, and the protocol by which run.py alternates processes (see pace.h)."""
import json
import os
import resource
import statistics
import sys
import time


def add_options(parser):
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--pause", action="store_true")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")


def timed(step, clock):
    now = time.process_time if clock == "cpu" else time.perf_counter
    begin = now()
    step()
    return 1e3 * (now() - begin)


def peak_mb():
    """Of this process and of its largest child, which counts where a data loader's workers hold the images."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024e-6


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") * 1e-6


def measure(cases, options, about):
    """cases: {name: function}. With --pause: warms up, prints "ready" and the names; for each line "NAME COUNT" runs that case
    COUNT times and prints the milliseconds of each on one line ("go" is the first case, COUNT 1 unless given); at any other
    line, or the end of the input, prints {"peak_mb": ..., "work_mb": ...}. Without: times each case and prints a JSON line of
    it."""
    before = resident_mb()
    for step in cases.values():
        for _ in range(options.warm_up):
            step()
    if not options.pause:
        for name, step in cases.items():
            times = [timed(step, options.clock) for _ in range(options.steps)]
            print(json.dumps(dict(about, case=name, min_ms=round(min(times), 4), steps=options.steps,
                                  median_ms=round(statistics.median(times), 4), peak_mb=round(peak_mb(), 1),
                                  work_mb=round(peak_mb() - before, 1))), flush=True)
        return
    print("ready", *cases, flush=True)
    names = dict(cases, go=next(iter(cases.values())))
    for line in sys.stdin:
        name, *count = line.split() or [""]
        if name not in names:
            break
        print(*("%.4f" % timed(names[name], options.clock) for _ in range(int(count[0]) if count else 1)), flush=True)
    print(json.dumps({"peak_mb": round(peak_mb(), 1), "work_mb": round(peak_mb() - before, 1)}), flush=True)

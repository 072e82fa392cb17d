"""Regression check: runs every job of libmio from two builds alternately and prints B's speed in units of A's.

  python3 tests/bench/compare_builds.py BUILD_A BUILD_B [--only step,conv,...] [--quick] [--limit 0.9]

Ends with status 1 if the ratio of a job, by both minimum and median, is below --limit: B is slower.
"""
import argparse
import sys

import run
from alternate import alternate


def jobs_of(options, build):
    bench = run.Bench(argparse.Namespace(build=build, quick=options.quick, python=[]))
    bench.pythons = bench.torches = []
    for make in run.Bench.JOBS:
        if not options.only or make.__name__ in options.only.split(","):
            yield from make(bench)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs=2, metavar="BUILD")
    parser.add_argument("--only")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, default=0.9)
    options = parser.parse_args()
    slower = 0
    for a, b in zip(*(jobs_of(options, build) for build in options.builds)):
        for first, second in zip(a.contenders, b.contenders):
            results, _ = alternate([first, second], 3 if options.quick else 2 * a.rounds, a.calls)
            cases = {}
            for r in results:
                cases.setdefault(r["case"], []).append(r)
            for case, pair in cases.items():
                if len(pair) < 2:
                    continue
                gains = [pair[0][m] / pair[1][m] for m in ("min_ms", "median_ms")]
                slow = max(gains) < options.limit
                slower += slow
                print("%-20s %-16s %-32s x%.3f min, x%.3f median%s" % (a.name, first.name, case, *gains,
                                                                     "  SLOWER" if slow else ""), flush=True)
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()

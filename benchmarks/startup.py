"""CPU seconds of starting: `linnet --help` and `import linnet`, each a process of its own, median of several.

    python benchmarks/startup.py [--runs 7]

Asked: `linnet --help` under 0.6 s, `import linnet` under 0.5 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys

COMMANDS = {
    "linnet --help": ["-m", "linnet", "--help"],
    "import linnet": ["-c", "import linnet"],
    "bare python": ["-c", "pass"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system seconds of one child."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"{arguments} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    for name, arguments in COMMANDS.items():
        seconds = [cpu_seconds(arguments) for _ in range(runs)]
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:>14}: {statistics.median(seconds):.2f} s of CPU (of {runs}: {spread})")


if __name__ == "__main__":
    main()

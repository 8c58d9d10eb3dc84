"""Time of installation: the README's command in a fresh clone of the last commit and a fresh virtual environment.

    python benchmarks/install_time.py

Wall-clock time, and processor time of pip and all that it starts, among these the compiler; of it, the time in which
pip builds so3md, as it says itself, and the compilation alone, from the log of ninja. The rest are the environment, the
tools of the build and the dependencies. No compiler cache and no GPU kernels, whatever the environment says. Downloads
count, unless pip has them in its cache: a second run shows the difference. Writes results/install_time.json, and fails
if the build takes more than two minutes on two cores. Leave the machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from machine import describe_machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "install_time.json"
LIMIT = 120.0  # s, of the build on two cores
#: What pip says where no terminal is.
BUILDING = re.compile(r" *Building wheel for so3md .*: (started|finished)")
#: Whatever changes what is built, or takes it out of a cache.
LEFT_OUT = re.compile(r"^(CMAKE_|CCACHE_|SO3MD_|CC$|CXX$|CFLAGS$|CXXFLAGS$|LDFLAGS$|CUDACXX$|VIRTUAL_ENV$|PYTHON)")


def install_command() -> str:
    """What the README says, without the run of molecular dynamics that follows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- ci: install -->\n```sh\n(.*)\n```", readme)
    if found is None or " && so3md md " not in found[1]:
        raise SystemExit("README.md: expected a command after <!-- ci: install --> that ends with so3md md, found none")
    return found[1].partition(" && so3md md ")[0]


def timed(command: str, folder: Path) -> dict[str, float]:
    """Wall-clock and processor seconds of a command, with all processes that it starts, and those of the build."""
    environment = {name: value for name, value in os.environ.items() if not LEFT_OUT.match(name)}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    lines, moments = [], {}
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        for line in run.stdout or ():
            lines.append(line)
            if found := BUILDING.match(line):
                moments[found[1]] = time.perf_counter()
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode != 0:
        raise SystemExit(f"{command} failed:\n{''.join(lines)}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "build_s": moments["finished"] - moments["started"]}


def compilation(folder: Path) -> dict[str, Any]:
    """Wall-clock times of the steps of the build: from the first to the last, the sum of all, and the longest."""
    (log,) = folder.glob("build/cmake-*/.ninja_log")
    steps = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            begin, end, _, output, *_ = line.split("\t")
            steps[output] = (int(begin) / 1e3, int(end) / 1e3)
    seconds = {name: end - begin for name, (begin, end) in steps.items()}
    longest = sorted(seconds, key=lambda name: -seconds[name])[:12]
    return {
        "wall_s": max(end for _, end in steps.values()),
        "sum_of_steps_s": sum(seconds.values()),
        "longest_steps_s": {name.replace("CMakeFiles/", ""): seconds[name] for name in longest},
    }


def compiler_version() -> str:
    return subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


@click.command(help=__doc__.splitlines()[0])
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(output: Path) -> None:
    command = install_command()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "so3md"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        installation = timed(command, clone)
        report = {
            "benchmark": "installation by the README's command, in a fresh clone and a fresh virtual environment",
            "date": datetime.date.today().isoformat(),
            "machine": machine,
            "compiler": compiler_version(),
            "command": command,
            "limit_s": LIMIT,
            **installation,
            "within_limit": installation["wall_s"] <= LIMIT,
            "build_within_limit": installation["build_s"] <= LIMIT,
            "compilation": compilation(clone),
        }
    print(
        f"{installation['wall_s']:.0f} s, {installation['cpu_s']:.0f} s of processor time; the build took "
        f"{installation['build_s']:.0f} s of these"
    )
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {output}")
    if machine["cores"] == 2 and not report["build_within_limit"]:
        sys.exit(f"expected at most {LIMIT:.0f} s of the build on two cores")


if __name__ == "__main__":
    main()

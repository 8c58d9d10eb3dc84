"""All measurements of the CPU engine alone and beside its peers, one after the other, and the plots of the README.

    python benchmarks/all_cpu.py [--only NAME]...

Results go to results/, images to docs/images/. Takes about an hour on two cores; leave the machine alone meanwhile. The
first run makes the environment of the peers, which takes some minutes more.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

HERE = Path(__file__).parent
#: Scripts with their options, the most telling first.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "compare_so3krates_torch": ("--compiled",),
    "sizes": (),
    "size_ratios": (),
    "instruction_sets": (),
    "small_systems": (),
    "startup": (),
    "neighbour_lists": (),
    "draw": (),
}


@click.command(help=__doc__.splitlines()[0])
@click.option("--only", type=click.Choice(list(SCRIPTS)), multiple=True, help="These scripts. Default: all.")
def main(only: tuple[str, ...]) -> None:
    failed = []
    for name, options in SCRIPTS.items():
        if only and name not in only:
            continue
        click.secho(f"{name} ...", bold=True)
        begin = time.monotonic()
        status = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options]).returncode
        click.secho(f"{name}: {(time.monotonic() - begin) / 60:.1f} minutes", bold=True)
        if status:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

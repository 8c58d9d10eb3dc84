"""Liquid water at 300 K and 1 bar: density, structure, diffusion, dipoles and the infrared spectrum.

python liquid_water.py --student FILE [--folder liquid_water] [--analyse] [--output FILE]    (hours; 2 GB of disk)

Three runs of `so3md md` in the folder, with the full sum of charges and the tail of dispersion:

1. equilibration: at constant pressure, with heavier hydrogens, which change no average;
2. npt: the same, in multiple time steps, for density, structure and dipoles;
3. dynamics: at constant volume with natural masses and a weak thermostat, for diffusion and spectra.

What is there goes on where it stopped: Ctrl-C, and the same command again. --analyse takes what there is, without more
steps. The student for multiple time steps is made by `so3md distill water`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import read
from outcome import RESULTS, write_result
from polarization import spectrum_of

from so3md.analysis import Options, Report, Wanted, analyse
from so3md.analysis.results import Quantity
from so3md.dynamics.outputs import read_log

BOTH = "--coulomb ewald --dispersion-tail"
#: Name of a run -> steps.
STEPS = {"equilibration": 10_000, "npt": 12_500, "dynamics": 200_000}
#: Where the first maxima between molecules are looked for (A).
RADIAL = {"O-O": (2.4, 3.4), "H-O": (1.5, 2.4)}
#: mPa s at 300 K, of the measured liquid: M. L. Huber et al., J. Phys. Chem. Ref. Data 38, 101 (2009).
VISCOSITY = 0.854
#: 1e-9 m^2/s at the same temperature, likewise.
DIFFUSION = json.loads((Path(__file__).parent / "references.json").read_text(encoding="utf-8"))["liquid"]["diffusion"][
    0
]


def runs_of(student: str, scale: float) -> dict[str, list[str]]:
    """Name of a run -> the arguments of `so3md md`; scale: of lengths, 1 for 50 ps of npt and 400 ps of dynamics."""
    npt, mts = f"--ensemble npt {BOTH}", f"{BOTH} --mts --student"
    # The masses of the second come with the file of the first.
    texts = {
        "equilibration": f"water {npt} --hmr 3 --timestep 1.5",
        "npt": "equilibration/final.xyz --ensemble npt --timestep 1 --outer-timestep 4 --log-interval 2 "
        f"--trajectory-interval 10 {mts}",
        "dynamics": "water --thermostat csvr --taut 1000 --outer-timestep 2 --trajectory-interval 1 "
        f"--trajectory-format traj --write-velocities {mts}",
    }
    return {
        name: [*text.split(), *([student] if "--mts" in text else []), "--steps", str(round(scale * STEPS[name]))]
        for name, text in texts.items()
    }


def is_done(run: Path) -> bool:
    """Whether a run has had all of its steps: final.xyz is that of the last one, or of where it was stopped."""
    if not (run / "final.xyz").exists():
        return False
    planned = json.loads((run / "run.json").read_text(encoding="utf-8"))["planned_steps"]
    return int(read(run / "final.xyz").info["step"]) >= planned


def simulate(folder: Path, runs: dict[str, list[str]]) -> None:
    """Begin each run, or go on with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, arguments) in enumerate(runs.items(), start=1):
        print(f"run {number} of {len(runs)}: {name}", flush=True)
        if is_done(folder / name):
            continue
        here = ["--resume", name] if (folder / name / "checkpoint.npz").exists() else [*arguments, "--output", name]
        command = [sys.executable, "-m", "so3md", "md", *here, "--no-plot"]
        if subprocess.run(command, cwd=folder).returncode:
            raise SystemExit(f"{name} ended early; the same command goes on with it")


def picked(report: Report, names: dict[str, str]) -> dict[str, Any]:
    """Quantities of a report by the names that results have: value and standard error; None for what is not there."""
    found: dict[str, Quantity] = {one.name: one for section in report.sections for one in section.quantities}
    return {
        key: {"value": found[name].value, "error": found[name].error, "unit": found[name].unit}
        if name in found
        else None
        for key, name in names.items()
    }


def curve_of(report: Report, title: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the first curve of a plot."""
    plots = {plot.title: plot for section in report.sections for plot in section.plots}
    return next(iter(plots[title].curves.values()))


def features(r: np.ndarray, g: np.ndarray, first: tuple[float, float]) -> dict[str, float]:
    """The first maximum of a radial distribution function within bounds (A), and what follows: minimum, maximum."""

    def extreme(low: float, high: float, sign: int) -> tuple[float, float]:
        here = (r >= low) & (r <= high)
        k = np.argmax(sign * g[here])
        return float(r[here][k]), float(g[here][k])

    one = extreme(*first, 1)
    least = extreme(one[0], one[0] + 1.2, -1)
    two = extreme(least[0], least[0] + 1.8, 1)
    names = ("first_maximum", "first_minimum", "second_maximum")
    return {
        f"{name}_{what}": value
        for name, pair in zip(names, (one, least, two), strict=True)
        for what, value in zip(("A", "height"), pair, strict=True)
    }


def of_an_infinite_box(box: dict[str, Any] | None, with_measured: dict[str, Any] | None) -> dict[str, Any] | None:
    """The diffusion coefficient from that in the box and that which the measured viscosity gives (Yeh and Hummer).

    The correction goes with 1 / viscosity. That of the model is not known; it is taken to be as much larger as its
    diffusion in an infinite box is smaller (Stokes and Einstein): D = D_box + correction D / D_measured.
    """
    if box is None or with_measured is None:
        return None
    factor = 1 / (1 - (with_measured["value"] - box["value"]) / DIFFUSION)
    return {"value": factor * box["value"], "error": factor * box["error"], "unit": box["unit"]}


def density_of(folder: Path, begin: float, blocks: int = 8) -> dict[str, Any]:
    """The mean density and its standard error from the means of a few long blocks."""
    log = read_log(folder / "log.csv")
    values = log["density_g_cm3"][log["time_ps"] >= begin]
    means = [float(part.mean()) for part in np.array_split(values, blocks)]
    error = float(np.std(means, ddof=1) / np.sqrt(blocks))
    return {"value": float(values.mean()), "error": error, "unit": "g/cm3", "blocks": means}


def analysis_of(folder: Path, begin: float) -> dict[str, Any]:
    """All of it, as plain data. begin: ps of the runs npt and dynamics that count as equilibration."""
    npt = analyse(folder / "npt", Wanted(begin=begin), Options(model="so3lr"))
    dynamics = analyse(folder / "dynamics", Wanted(begin=begin, every=10), Options(viscosity=VISCOSITY))
    record: dict[str, Any] = {
        "npt": picked(
            npt,
            {
                "temperature": "Temperature",
                "pressure": "Pressure",
                "potential_energy": "Potential energy",
                "dipole": "Dipole of H2O",
            },
        ),
        "dynamics": picked(
            dynamics,
            {
                "diffusion_in_the_box": "Diffusion of H2O",
                "diffusion_with_measured_viscosity": "Diffusion of H2O, infinite system",
                "temperature": "Temperature",
                "density": "Density",
            },
        ),
        "missing": {k: why for report in (npt, dynamics) for one in report.sections for k, why in one.missing.items()},
        "radial": {},
    }
    found = record["dynamics"]
    found["diffusion"] = of_an_infinite_box(found["diffusion_in_the_box"], found["diffusion_with_measured_viscosity"])
    record["npt"]["density"] = density_of(folder / "npt", begin)
    record["picoseconds"] = {
        name: read_log(folder / name / "log.csv")["time_ps"][-1] - begin for name in ("npt", "dynamics")
    }
    record["radial_at_constant_volume"] = features(*curve_of(dynamics, "g(r) of O-O"), RADIAL["O-O"])
    for pair, bounds in RADIAL.items():
        r, g = curve_of(npt, f"g(r) of {pair}")
        record["radial"][pair] = {
            "r_A": np.round(r, 4).tolist(),
            "g": np.round(g, 4).tolist(),
            **features(r, g, bounds),
        }
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", help="model for the inner steps; needed for the runs")
    parser.add_argument("--folder", type=Path, default=Path("liquid_water"), help="of the runs")
    parser.add_argument("--scale", type=float, default=1.0, help="of the lengths of the runs")
    parser.add_argument("--begin", type=float, default=2.0, help="ps of each run that are left out")
    parser.add_argument("--currents", type=int, default=2500, help="evaluations for the infrared spectrum")
    parser.add_argument("--analyse", action="store_true", help="no more steps")
    parser.add_argument("--output", type=Path, default=RESULTS / "liquid_water.json")
    options = parser.parse_args()
    if not options.analyse:
        if options.student is None:
            parser.error("--student FILE is needed; so3md distill water makes one")
        student = Path(options.student)
        simulate(
            options.folder, runs_of(str(student.resolve()) if student.exists() else options.student, options.scale)
        )
    record = analysis_of(options.folder, options.begin)
    record["infrared"] = spectrum_of(options.folder / "dynamics" / "trajectory.traj", options.begin, options.currents)
    write_result(options.output, record)


if __name__ == "__main__":
    main()

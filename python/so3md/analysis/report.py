"""The analyses one after the other; what one cannot give is named with its reason, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.formula import Formula

import so3md
from so3md.analysis.diffusion import diffusion
from so3md.analysis.dipoles import dipole_section
from so3md.analysis.distances import radial_distributions
from so3md.analysis.hydrogen_bonds import hydrogen_bonds
from so3md.analysis.reading import Wanted, read_trajectory
from so3md.analysis.results import Section, Unavailable
from so3md.analysis.spectra import infrared_spectrum, velocity_spectrum
from so3md.analysis.thermodynamics import thermodynamics
from so3md.analysis.trajectory import Trajectory
from so3md.analysis.work import Options, Work
from so3md.missing_packages import needed

#: (done, of, text)
Progress = Callable[[int, int, str], None]


@dataclass
class Report:
    """The sections that could be had, and of the others the reasons why not."""

    trajectory: Trajectory
    sections: list[Section] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def about(self) -> list[str]:
        """Lines that say what was analysed."""
        trajectory = self.trajectory
        formula = Formula.from_list(trajectory.symbols.tolist()).format("hill")
        frames = f"{len(trajectory)} frames" if len(trajectory) > 1 else "1 frame"
        if trajectory.times is not None and len(trajectory) > 1:
            frames += f", {trajectory.times[0]:g} to {trajectory.times[-1]:g} ps"
        rows = [] if trajectory.log is None else [f"a log of {len(next(iter(trajectory.log.values())))} rows"]
        return [f"{formula}, {len(trajectory.numbers)} atoms; {'; '.join([frames, *rows])}", *trajectory.notes]

    def document(self) -> dict[str, Any]:
        """All numbers, as JSON has them."""
        trajectory = self.trajectory
        return {
            "so3md": so3md.__version__,
            "source": trajectory.source,
            "atoms": len(trajectory.numbers),
            "frames": len(trajectory),
            "times_ps": None if trajectory.times is None else [float(trajectory.times[0]), float(trajectory.times[-1])],
            "notes": trajectory.notes,
            "sections": [section.document() for section in self.sections],
            "missing": self.missing,
        }


def analyse(
    source: str | Path,
    wanted: Wanted | None = None,
    options: Options | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Read a run or a trajectory and analyse it; see `Wanted` and `Options`.

    Raises FileNotFoundError or ValueError if it cannot be read, and for numbers in it that are not finite, and
    ImportError without the packages of the extra `analysis`.
    """
    with needed("the analysis", "MDAnalysis", "'.[analysis]' in the folder of so3md"):
        import MDAnalysis  # noqa: F401
    stages = 1 + len(_ANALYSES)
    trajectory = read_trajectory(Path(source), wanted or Wanted(), lambda text: progress(0, stages, f"Reading, {text}"))
    if not (np.isfinite(trajectory.positions).all() and np.isfinite(trajectory.cells).all()):
        raise ValueError(f"{source}: it has positions or cells that are not finite numbers")
    report, work = Report(trajectory), Work(trajectory, options or Options())
    for number, (name, function) in enumerate(_ANALYSES.items(), start=1):
        progress(number, stages, name)

        def say(text: str, number: int = number, name: str = name) -> None:
            progress(number, stages, f"{name}: {text}")

        work.say = say
        try:
            section = function(work)
        except Unavailable as reason:
            report.missing[name] = str(reason)
            continue
        report.missing |= section.missing
        report.sections.append(section)
    return report


_ANALYSES: dict[str, Callable[[Work], Section]] = {
    "Thermodynamics": lambda work: thermodynamics(work.trajectory),
    "Radial distribution functions": lambda work: radial_distributions(
        work.trajectory, work.say, work.options.farthest
    ),
    "Diffusion": diffusion,
    "Hydrogen bonds": hydrogen_bonds,
    "Velocity spectrum": velocity_spectrum,
    "Dipoles": lambda work: dipole_section(work.trajectory, work.dipoles),
    "Infrared spectrum": infrared_spectrum,
}

"""Figures of the paper's claims: accuracy of single molecules, where they were trained and far from there."""

from __future__ import annotations

from collections.abc import Iterator

from page_figures.common import ROOT, Record, paragraph, read, span, table

RESULTS = ROOT / "benchmarks" / "paper" / "results"
_MOLECULES = {"ethanol": "ethanol", "acac": "acetylacetone at 300 K"}
_STARTS = {"": "random numbers", "-so3lr": "SO3LR"}


def _aim(report: Record) -> str:
    ((name, value),) = report["aim"].items()
    return f"{name.split('_')[1].upper()} of forces {value:g}"


def _accuracy_rows() -> Iterator[list[str]]:
    for molecule, name in _MOLECULES.items():
        for suffix, start in _STARTS.items():
            report = read(f"accuracy_{molecule}{suffix}", RESULTS)
            forces, energy = report["errors"]["forces (eV/A)"], report["errors"]["energy (eV)"]
            yield [
                name,
                start,
                f"{report['parameters']:,}",
                f"{report['steps']:,}",
                *(f"{1e3 * error['mae']:.1f}, {1e3 * error['rmse']:.1f}" for error in (forces, energy)),
                _aim(report),
            ]


def accuracy() -> str:
    """benchmarks/paper/README.md: test errors of single molecules."""
    header = ["molecule", "from", "parameters", "steps", "forces, meV/Å", "energy, meV", "aim"]
    return table(header, list(_accuracy_rows()))


def acac_far() -> str:
    """benchmarks/paper/README.md: errors of acetylacetone far from where it was trained."""
    report = read("acac_far", RESULTS)
    rows = []
    for name, model in report["models"].items():
        for kind, count in report["structures"].items():
            error = model[kind]
            forces = f"{error['forces_mae_meV_per_A']:.1f}, {error['forces_rmse_meV_per_A']:.1f}"
            rows.append([name, kind, str(count), forces, f"{error['energy_deviation_meV']:.1f}"])
    header = ["model", "structures", "number", "forces: MAE, RMSE (meV/Å)", "energy: deviation (meV)"]
    labels = [
        difference["forces_mae_meV_per_A"] for difference in report["labels"]["differences_from_the_training_set"]
    ]
    text = (
        f"Labels: {report['labels']['method']}. For two structures of the training set, its forces and these differ by "
        f"{span(labels, 1)} meV/Å (mean of components)."
    )
    return f"{table(header, rows)}\n\n{paragraph(text)}"


FIGURES = (accuracy, acac_far)

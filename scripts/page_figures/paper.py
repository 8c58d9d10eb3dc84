"""Figures of the paper's claims: accuracy of single molecules, where they were trained and far from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from page_figures.common import MINUS, ROOT, Record, paragraph, read, span, table

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


def _rows(
    points: list[Record], column: str, name_of: Callable[[Record], str], text_of: Callable[[Record], str]
) -> dict[str, list[str]]:
    """Name -> row of a table: the name, and the texts of its points in the order of what they have in a column."""
    rows: dict[str, list[str]] = {}
    for point in sorted(points, key=lambda point: point[column]):
        name = name_of(point)
        rows.setdefault(name, [name]).append(text_of(point))
    return rows


def data_efficiency() -> str:
    """benchmarks/paper/README.md: test errors of small models by degrees and number of training structures."""
    report = read("data_efficiency", RESULTS)
    settings, points = report["settings"], report["points"]
    sizes = sorted({point["size"] for point in points})
    rows = _rows(
        points,
        "size",
        lambda point: "{" + ", ".join(map(str, point["degrees"])) + "}",
        lambda point: span(point["forces_mae_meV_per_A"], 0),
    )
    for name, power in report["exponents"].items():
        exponent = f"{power['exponent']:.2f} ± {power['standard_error']:.2f}"
        rows[name].append(exponent.replace("-", MINUS))
    text = (
        f"MAE of forces (meV/Å) of small models ({settings['model']['num_features']} features, "
        f"{settings['model']['num_layers']} layers, some 40,000 parameters) after {settings['steps']} steps each, "
        f"least and most of {len(settings['seeds'])} seeds, and the exponent of the error as a power of the number:"
    )
    header = ["degrees", *map(str, sizes[:-1]), f"{sizes[-1]} structures", "exponent"]
    return f"{paragraph(text)}\n\n{table(header, list(rows.values()))}"


def optimisers() -> str:
    """benchmarks/paper/README.md: test errors of a small model by optimiser and learning rate."""
    report = read("optimisers", RESULTS)
    settings, points = report["settings"], report["points"]
    rates = sorted({point["learning_rate"] for point in points})
    rows = _rows(
        points,
        "learning_rate",
        lambda point: f"`{point['optimiser']}`",
        lambda point: f"{point['forces_mae_meV_per_A']:.1f}",
    )
    text = (
        "MAE of forces (meV/Å) of test structures of ethanol for the small model of the data efficiency below, degrees "
        f"1 to 3, {settings['structures']} structures, {settings['steps']} steps with a cosine schedule, by the "
        "learning rate:"
    )
    return f"{paragraph(text)}\n\n{table(['optimiser', *(f'{rate:g}' for rate in rates)], list(rows.values()))}"


FIGURES = (accuracy, acac_far, data_efficiency, optimisers)

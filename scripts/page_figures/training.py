"""Figures of training: what fine-tuning learns and forgets."""

from __future__ import annotations

from page_figures.common import Record, hardware, paragraph, read, short, table

_DOMAINS = ("ethanol", "water", "molecules of water", "benzene", "acetamide")
_NAMES = {
    "everything, with old structures": "everything, and old structures",
    "low rank 16, with old structures": "low rank 16, and old structures",
}


def _chosen(way: Record) -> list[Record]:
    """The trainings at the learning rate that was taken, one for each seed."""
    return [run for run in way["runs"] if run["learning_rate"] == way["learning_rate"]]


def _errors(way: Record, domain: str) -> list[float]:
    return [run["force_errors_meV_per_A"][domain] for run in _chosen(way)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _row(name: str, trained: str, rate: str, values: list[float], seconds: str) -> list[str]:
    return [name, trained, rate, *(f"{value:.0f}" for value in values), seconds]


def finetune_forgetting() -> str:
    """docs/training.md: errors of forces where a model was fine-tuned, and changes of them elsewhere."""
    report = read("finetune_forgetting")
    size, sizes = report["size"], report["mean_forces_meV_per_A"]
    rows = [_row("before", "", "", [report["before"][name] for name in _DOMAINS], "")]
    for way in report["ways"]:
        rows.append(
            _row(
                _NAMES.get(way["way"], way["way"]),
                f"{way['trained_numbers']:,}",
                short(way["learning_rate"]),
                [_mean(_errors(way, name)) for name in _DOMAINS],
                f"{_mean([run['cpu_seconds'] for run in _chosen(way)]):.0f}",
            )
        )
    rows.append(_row("mean size of forces", "", "", [sizes[name] for name in _DOMAINS], ""))
    scatter = max(
        abs(value / _mean(values) - 1)
        for way in report["ways"]
        for values in (_errors(way, name) for name in _DOMAINS)
        for value in values
    )
    header = ["way", "trained", "rate", "ethanol", "water", "(a)", "benzene", "acetamide", "CPU s"]
    text = (
        f"{size['epochs']} epochs, means of {size['seeds']} seeds, from which no single one differs by more than "
        f"{100 * scatter:.0f} %; of three learning rates the one with the lowest validation loss; {size['clusters']} "
        f"clusters of six molecules of water as old structures; on {hardware(report['machine'])}, 1 thread, "
        f"{report['date']}."
    )
    return f"{table(header, rows)}\n\n{paragraph('(a) Forces on whole molecules of the same water. ' + text)}"


FIGURES = (finetune_forgetting,)

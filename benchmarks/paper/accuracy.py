"""Accuracy of a So3krates model on ethanol (MD17) or acetylacetone: trains it, and reports its test errors.

    python benchmarks/paper/accuracy.py ethanol

`ethanol-so3lr` and `acac-so3lr` are SO3LR trained further, instead of models that start from random numbers. Goes on
where it was stopped (Ctrl-C is safe). Writes results/accuracy_MOLECULE.json with learning curve and parity plot beside
it; `--install` copies the model and its errors to examples/paper. Settings are in configs/MOLECULE.yaml.
"""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from runs import DATA, RESULTS, RUNS, data_file, train, write_results

from so3md.model_file import ModelFile

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

CONFIGS = Path(__file__).parent / "configs"
EXAMPLES = Path(__file__).parents[2] / "examples" / "paper"
#: What is aimed for: molecule -> (kind of error of forces, meV/A).
AIMS = {
    "ethanol": ("mae", 4.3),
    "ethanol-so3lr": ("mae", 4.3),
    "acac": ("rmse", 8.0),
    "acac-so3lr": ("rmse", 8.0),
}
#: What is trained further, where that is not a new model.
BASES = {"ethanol-so3lr": "so3lr", "acac-so3lr": "so3lr"}


def load_config(molecule: str, data: Path) -> dict[str, Any]:
    """The settings of configs/, with the files of the data found."""
    config = yaml.safe_load((CONFIGS / f"{molecule}.yaml").read_text())
    for key, name in config["data"].items():
        if key == "files" or key.endswith("_files"):
            config["data"][key] = data_file(data, name)
    return config


def make_report(molecule: str, directory: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """What is published: the settings are those of the run, which may have been gone on with differently."""
    kind, aim = AIMS[molecule]
    config = json.loads((directory / "run.json").read_text())["config"]
    for key, name in config["data"].items():
        if name and (key == "files" or key.endswith("_files")):
            config["data"][key] = Path(name).name
    return {
        "benchmark": f"test errors of So3krates for {molecule}",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "aim": {f"forces_{kind}_meV_per_A": aim},
        "config": config,
        **summary,
    }


def print_table(report: dict[str, Any]) -> None:
    table = Table("quantity", "MAE", "RMSE", title=f"{report['benchmark']}, {report['structures']['test']} structures")
    for name, errors in report["errors"].items():
        table.add_row(name, *(f"{value:.4g}" for value in (errors["mae"], errors["rmse"])))
    console = Console()
    console.print(table)
    console.print(
        f"{report['parameters']} parameters, {report['steps']} steps, {report['seconds'] / 60:.0f} minutes; "
        f"aim: {report['aim']}"
    )


def install_example(molecule: str, trained: Path, report: dict[str, Any]) -> None:
    """Copies a model and its errors to examples/paper, without names of the machine's folders."""
    model = ModelFile.read(trained)
    model.provenance["train"]["config"]["data"] = report["config"]["data"]
    model.write(EXAMPLES / f"{molecule}.safetensors")
    (EXAMPLES / f"{molecule}.json").write_text(json.dumps(report, indent=1) + "\n")


@click.command(help=__doc__.splitlines()[0])
@click.argument("molecule", type=click.Choice(list(AIMS)))
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--install", is_flag=True, help="copy the model and its errors to examples/paper")
def main(molecule: str, data: Path, threads: int, install: bool) -> None:
    directory = RUNS / molecule
    summary = train(load_config(molecule, data), directory, threads, BASES.get(molecule))
    report = make_report(molecule, directory, summary)
    print_table(report)
    print(f"written: {write_results(f'accuracy_{molecule}.json', report)}")
    for name in ("learning_curve", "parity"):
        if (directory / f"{name}.png").exists():  # not without matplotlib
            shutil.copy(directory / f"{name}.png", RESULTS / f"accuracy_{molecule}_{name}.png")
    if install:
        install_example(molecule, directory / "model.safetensors", report)


if __name__ == "__main__":
    main()

"""so3md info: what a model is, and how well the engine evaluates it here."""

from __future__ import annotations

import json
from typing import Any

import click
from ase.data import chemical_symbols
from rich.table import Table

from so3md.cli.common import Command, make_console
from so3md.cli.completed_names import model_names
from so3md.loading import known_models, load_model
from so3md.long_range import length_text
from so3md.printable import printable

_LONG_LIST = 12


@click.command("info", cls=Command)
@click.argument("model", default="so3lr", shell_complete=model_names)
@click.option("--precision", type=click.Choice(["mixed", "double"]), default="mixed", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--license", "show_license", is_flag=True, help="Print the text of the model's licence.")
def command(model: str, precision: str, as_json: bool, show_license: bool) -> None:
    """Say what MODEL is: a model that ships with so3md (so3lr, the default), or a model file."""
    from so3md import _engine

    opened = load_model(model)
    document = json.loads(opened.metadata)
    if show_license:
        click.echo(_lines(document["license_text"] or document["license"]))
        return
    engine = _engine.Engine(opened, precision=precision).info() | {"instruction_sets": _engine.instruction_sets()}
    if as_json:
        facts = {
            "path": opened.path,
            "num_parameters": opened.num_parameters,
            "long_range_cutoff_molecules": opened.long_range_cutoff_molecules,
            "long_range_damping": opened.long_range_damping,
        }
        click.echo(json.dumps(facts | document | {"engine": engine}, indent=2))
        return
    console = make_console()
    for title, rows in _sections(opened, document, engine).items():
        console.print(_table(title, rows))
    console.print("Models that have a name: " + ", ".join(known_models()), highlight=False)


def _sections(opened: Any, document: dict[str, Any], engine: dict[str, Any]) -> dict[str, dict[str, str]]:
    provenance = {f"from {key}": value for key, value in document["provenance"].items()}
    model = {
        "file": opened.path,
        "description": document["description"],
        "format": f"{document['architecture']}, version {document['format_version']}",
        "elements": " ".join(chemical_symbols[z] for z in opened.elements),
        "parameters": f"{opened.num_parameters:,} trained numbers, for its {len(opened.elements)} elements",
        **_long_range(opened),
        "uncertainty": _uncertainty(document.get("uncertainty")),
        "licence": document["license"],
        **{f"citation {number}": text for number, text in enumerate(document["citation"], start=1)},
    }
    here = {
        "precision": engine["precision"],
        "threads": engine["threads"],
        "instruction set": f"{engine['instruction_set']} of {', '.join(engine['instruction_sets'])}",
        "radial tables": _table_text(engine["table_error"], engine["tabulated"]),
    }
    return {
        document["name"]: _as_text(model | provenance),
        "Hyperparameters": _as_text(document["hyperparameters"]),
        "Engine": _as_text(here),
    }


def _table_text(error: dict[str, float] | None, used: bool) -> str:
    if error is None:
        return "not used"
    text = (
        f"beyond {error['begin']:g} A, filters of up to {error['scale']:.3g} have errors of at most "
        f"{error['value']:.2g}, and their derivatives of {error['derivative']:.2g} /A"
    )
    return text if used else f"not used, but the networks, because {text}"


def _as_text(facts: dict[str, Any]) -> dict[str, str]:
    """The facts as text, without those that say nothing."""
    texts = {key: _value_text(value) for key, value in facts.items()}
    return {key: text for key, text in texts.items() if text}


def _value_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, text in _as_text(value).items())
    if isinstance(value, list):
        return _list_text(list(map(_value_text, value)))
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _list_text(items: list[str]) -> str:
    """The items, or the first and the last of many, such as the files that a model was trained on (--json has all)."""
    if len(items) <= _LONG_LIST:
        return ", ".join(items)
    return f"{', '.join(items[: _LONG_LIST // 2])}, ..., {items[-1]} ({len(items)} in all)"


def _uncertainty(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none of its own; several models are a committee"
    if not found["origin"].get("calibrated"):
        return "a distance from structures, not calibrated and without a unit; 1 is what they have"
    return f"of forces, {found['scale']:.3g} eV/A at the mean distance of its training set"


def _long_range(opened: Any) -> dict[str, str]:
    """What the model was made for, and what is so used where nothing else is asked for."""
    if not opened.has_long_range:
        return {"long-range terms": "none"}
    periodic = opened.long_range_cutoff
    return {
        "long-range cutoff": length_text(periodic) if periodic else "not made for periodic systems: give one there",
        "long-range cutoff of molecules": length_text(opened.long_range_cutoff_molecules),
        "long-range damping": length_text(opened.long_range_damping),
    }


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=printable(title), title_justify="left", title_style="bold", show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(printable(key.replace("_", " ")), _lines(value))
    return table


def _lines(text: str) -> str:
    """Lines of text that somebody else has written, without what would tell the terminal to do something."""
    return "\n".join(map(printable, text.splitlines()))

"""Finding and opening models: by the name of one that ships with so3md or lies in a model directory, or by the path of
a model file. The engine's own rule, for LAMMPS and programs in C, is the same (csrc/model/model_path.cpp)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from so3md._engine import Model

MODEL_DIRECTORY = Path(__file__).parent / "models"
MODEL_SUFFIX = ".safetensors"

#: Environment variable with more directories for names, separated by colons, which come before that of so3md.
MODEL_PATH = "SO3MD_MODEL_PATH"


def model_directories() -> list[Path]:
    """Where a name is looked up, in this order."""
    given = os.environ.get(MODEL_PATH, "")
    return [*(Path(directory) for directory in given.split(":") if directory), MODEL_DIRECTORY]


def known_models() -> dict[str, Path]:
    """The models that have a name: name -> path of the model file.

    >>> list(known_models())
    ['so3lr', 'so3lr-fast']
    """
    found: dict[str, Path] = {}
    for directory in model_directories():
        for path in sorted(directory.glob("*" + MODEL_SUFFIX), key=lambda path: path.stem):
            if path.is_file():
                found.setdefault(path.stem, path)
    return found


def model_path(name_or_path: str | os.PathLike[str]) -> Path:
    """The path of the model file that a name or a path stands for.

    Names are looked up in the directories of SO3MD_MODEL_PATH, then among the models that ship with so3md. A name wins
    over a file of the same name; write ./NAME for the file.
    Raises FileNotFoundError, listing the known names, if it is neither.
    """
    models = known_models()
    text = os.fspath(name_or_path)
    if text in models:
        return models[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    kind = "a directory" if path.is_dir() else "neither a file nor a name in the model directories"
    raise FileNotFoundError(
        f"model {text!r} is {kind}; known names: {', '.join(models) or 'none'}. "
        "Give one of them, or the path of a model file (so3md convert makes one from other formats), or add a "
        f"directory to the environment variable {MODEL_PATH}"
    )


def names_of_models(value: str | Sequence[str]) -> list[str]:
    """The names or paths in a parameter `model`, which has one or several."""
    return [value] if isinstance(value, str) else list(value)


def models_text(value: str | Sequence[str]) -> str:
    """A parameter `model` in a line for people."""
    return ", ".join(names_of_models(value))


def load_model(name_or_path: str | os.PathLike[str]) -> Model:
    """Open a model, such as "so3lr", by name or path.

    Returns the engine's Model: its elements (atomic numbers), cutoff (Angstrom), num_parameters and metadata (JSON).
    Raises FileNotFoundError for an unknown name, so3md._engine.ModelError (a ValueError) for a file that is truncated,
    altered, of a later version, or not a model.

    >>> from so3md import load_model
    >>> model = load_model("so3lr")
    >>> model.elements, model.cutoff, model.num_parameters
    ([1, 6, 7, 8, 9, 15, 16, 17], 4.5, 481320)
    """
    from so3md import _engine

    return _engine.Model(str(model_path(name_or_path)))


def hyperparameters_of(model: Model) -> dict[str, Any]:
    """The hyperparameters in the file of an opened model (docs/model_file.md)."""
    return json.loads(model.metadata)["hyperparameters"]

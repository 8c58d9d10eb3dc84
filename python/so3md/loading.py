"""Finding and opening models: by the name of one that ships with so3md, or by the path of a model file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from so3md._engine import Model

MODEL_DIRECTORY = Path(__file__).parent / "models"
MODEL_SUFFIX = ".safetensors"


def known_models() -> dict[str, Path]:
    """The models that ship with so3md: name -> path of the model file.

    >>> list(known_models())
    ['so3lr']
    """
    return {path.stem: path for path in sorted(MODEL_DIRECTORY.glob("*" + MODEL_SUFFIX))}


def model_path(name_or_path: str | os.PathLike[str]) -> Path:
    """The path of the model file that a name or a path stands for.

    The name of a shipped model wins over a file of the same name; write ./NAME for the file.
    Raises FileNotFoundError, listing the known names, if it is neither.
    """
    models = known_models()
    text = os.fspath(name_or_path)
    if text in models:
        return models[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    kind = "a directory" if path.is_dir() else "neither a file nor a model that ships with so3md"
    raise FileNotFoundError(
        f"model {text!r} is {kind}; known names: {', '.join(models) or 'none'}. "
        "Give one of them, or the path of a model file (so3md convert makes one from other formats)"
    )


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

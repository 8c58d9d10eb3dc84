"""The checkpoint of a training: one safetensors file with all vectors, bit for bit, and a JSON document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from so3md.dynamics.checkpoint import CheckpointError
from so3md.dynamics.files import replace_file

FORMAT = 1
_KEY = "so3md_training"


@dataclass
class TrainingCheckpoint:
    """State of a training after a step: vectors of parameters and optimiser, and everything else as plain data."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the file, replacing an older one only when this one is complete."""
        text = json.dumps({"format": FORMAT} | self.state)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        replace_file(path, save(tensors, metadata={_KEY: text}))

    @classmethod
    def read(cls, path: Path, device: torch.device) -> TrainingCheckpoint:
        """Read a checkpoint. Raises FileNotFoundError, and CheckpointError for one that is damaged."""
        with path.open("rb"):
            pass
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                state = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: damaged, or not a checkpoint of a training ({error!r})") from error
        if state.pop("format", None) != FORMAT:
            raise CheckpointError(f"{path}: of another version of so3md; this one reads format {FORMAT}")
        return cls(tensors, state)

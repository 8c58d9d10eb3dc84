"""The checkpoint of a training: one safetensors file with all vectors, bit for bit, and a JSON document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from so3md.run_directory import CheckpointError, DamagedError, read_latest, write_checkpoint

FORMAT = 1
_KEY = "so3md_training"


@dataclass
class TrainingCheckpoint:
    """State of a training after a step: vectors of parameters and optimiser, and everything else as plain data."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the file when everything that it records is on disk; the last one is kept as the one before."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        text = json.dumps({"format": FORMAT, "checksum": _checksum(tensors, self.state)} | self.state)
        write_checkpoint(path, save(tensors, metadata={_KEY: text}))

    @classmethod
    def read_latest(cls, path: Path, device: torch.device) -> TrainingCheckpoint:
        """Read the last checkpoint, or with a warning the one before where the last is damaged; raises as `read`."""
        return read_latest(path, lambda found: cls.read(found, device))

    @classmethod
    def read(cls, path: Path, device: torch.device) -> TrainingCheckpoint:
        """Read a checkpoint. Raises FileNotFoundError, and CheckpointError for one that is damaged."""
        with path.open("rb"):
            pass
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                state = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            found = state.pop("format")
            # Those of so3md 0.1 before checksums have none.
            if found == FORMAT and state.pop("checksum", None) in (None, _checksum(tensors, state)):
                return cls(tensors, state)
        except Exception as error:  # what damage makes safetensors, PyTorch and JSON raise has no end
            raise DamagedError(f"{path}: damaged, or not a checkpoint of a training ({_one_line(error)})") from error
        if found == FORMAT:
            raise DamagedError(f"{path}: damaged, its content is not that of its checksum")
        raise CheckpointError(f"{path}: format {found}, and this so3md reads format {FORMAT}")


def _checksum(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

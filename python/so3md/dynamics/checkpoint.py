"""The checkpoint: all that a run needs to go on as if it had never stopped.

One .npz file without pickles: arrays in full double precision, and a JSON document with the step, the state of the
random numbers, the sizes of the output files and what identifies the run.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from so3md.charge_and_spin import charge_and_spin_entries
from so3md.run_directory import CheckpointError, DamagedError, read_latest, write_checkpoint
from so3md.structures.constraints import constraints_of_text, constraints_text

FORMAT = 1
_ATOM_ARRAYS = ("numbers", "masses", "positions", "momenta")
_DRIVER = "driver:"


@dataclass
class Checkpoint:
    """State of a run after a step.

    identity: what the run is, see `refuse_other_run`; driver: numbers of the integrator; rng: state of the random
    number generator; file_sizes: name -> bytes of output that the steps so far have written, or
    frames where the format of a trajectory cannot be cut at a byte.
    """

    step: int
    atoms: Atoms
    driver: dict[str, np.ndarray]
    rng: dict[str, Any]
    identity: dict[str, Any]
    file_sizes: dict[str, int]

    def write(self, path: Path) -> None:
        """Write the file when everything that it records is on disk; the last one is kept as the one before."""
        atoms = self.atoms
        document = {
            "format": FORMAT,
            "step": self.step,
            "rng": self.rng,
            "identity": self.identity,
            "file_sizes": self.file_sizes,
            "info": charge_and_spin_entries(atoms),
            "constraints": constraints_text(atoms.constraints),
        }
        arrays = {
            "document": np.array(json.dumps(document)),
            "numbers": atoms.numbers,
            "masses": atoms.get_masses(),
            "positions": atoms.get_positions(),
            "momenta": atoms.get_momenta(),
            "cell": atoms.cell.array,
            "pbc": atoms.pbc,
        } | {_DRIVER + name: value for name, value in self.driver.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_checkpoint(path, buffer.getvalue())

    def random_numbers(self, path: Path) -> np.random.Generator:
        """The generator in its state. Raises CheckpointError, naming the path, if it is none."""
        generator = np.random.default_rng()
        try:
            generator.bit_generator.state = self.rng
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}: damaged, it has no state of random numbers ({error})") from error
        return generator

    @classmethod
    def read_latest(cls, path: Path) -> Checkpoint:
        """Read the last checkpoint, or with a warning the one before where the last is damaged; raises as `read`."""
        return read_latest(path, cls.read)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint. Raises FileNotFoundError, and CheckpointError for one that is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            document = json.loads(str(arrays["document"]))
            found = document["format"]
            if found == FORMAT:
                return cls._of(arrays, document)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except Exception as error:  # what damage makes NumPy, zipfile and JSON raise has no end
            text = " ".join(str(error).split())
            raise DamagedError(f"{path}: damaged, or not a checkpoint of so3md ({text})") from error
        raise CheckpointError(f"{path}: format {found}, and this so3md reads format {FORMAT}")

    @classmethod
    def _of(cls, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> Checkpoint:
        atoms = Atoms(cell=arrays["cell"], pbc=arrays["pbc"], **{name: arrays[name] for name in _ATOM_ARRAYS})
        atoms.info.update(document["info"])
        atoms.set_constraint(constraints_of_text(document["constraints"]))
        return cls(
            atoms=atoms,
            driver={key.removeprefix(_DRIVER): value for key, value in arrays.items() if key.startswith(_DRIVER)},
            **{key: document[key] for key in ("step", "rng", "identity", "file_sizes")},
        )


def structure_identity(atoms: Atoms) -> str:
    """Text that tells structures apart: formula, number of atoms, and a checksum of all but velocities."""
    digest = hashlib.sha256()
    for array in (atoms.numbers, atoms.get_masses(), atoms.positions, atoms.cell.array, atoms.pbc):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, checksum {digest.hexdigest()[:16]}"

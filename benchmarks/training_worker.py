"""Child process of training_step.py: one program that trains, asked for single steps on a given batch.

    python training_worker.py so3md|so3krates-torch --threads N FOLDER

FOLDER holds batch.npz (see `training_batches.save_batch`) and model.safetensors, the model that so3md begins with; the
peer makes its own and saves it as peer.model, for conversion. Runs under the Python of the peer, too.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from serving import serve
from training_batch_file import read_batch

ENERGY_WEIGHT, FORCES_WEIGHT = 1.0, 10.0
LEARNING_RATE = 1e-3
MAX_GRADIENT_NORM = 10.0
CUTOFF = 5.0
NETWORK = {"degrees": [1, 2, 3, 4], "num_features": 128, "num_heads": 4, "num_layers": 3}


class Peer:
    """so3krates-torch: its model and its loss, in a step as its own training loop takes it; the batch lies ready."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        from so3krates_torch.modules.loss import WeightedEnergyForcesLoss
        from so3krates_torch.modules.models import So3krates

        self.torch, self.folder = torch, folder
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        self.model = So3krates(
            r_max=CUTOFF,
            num_radial_basis_fn=32,
            radial_basis_fn="bernstein",
            cutoff_fn="phys",
            avg_num_neighbors=8.0,
            layer_normalization_1=True,
            layer_normalization_2=True,
            residual_mlp_1=True,
            energy_regression_dim=128,
            energy_learn_atomic_type_shifts=True,
            energy_learn_atomic_type_scales=True,
            **NETWORK,
        )
        self.loss = WeightedEnergyForcesLoss(ENERGY_WEIGHT, FORCES_WEIGHT)
        self.batch = self._make_batch()

    def _make_batch(self) -> Any:
        from so3krates_torch.data.atomic_data import AtomicData
        from so3krates_torch.data.utils import KeySpecification, config_from_atoms
        from so3krates_torch.tools import torch_geometric
        from so3krates_torch.tools.utils import AtomicNumberTable

        keys = KeySpecification(info_keys={"energy": "reference"}, arrays_keys={"forces": "reference"})
        items = []
        for atoms, energy, forces in read_batch(self.folder / "batch.npz"):
            atoms.info["reference"], atoms.arrays["reference"] = energy, forces
            config = config_from_atoms(atoms, key_specification=keys)
            table = AtomicNumberTable(list(range(1, 119)))
            items.append(AtomicData.from_config(config, z_table=table, cutoff=CUTOFF))
        return next(iter(torch_geometric.dataloader.DataLoader(items, batch_size=len(items), shuffle=False)))

    def save_model(self) -> dict[str, Any]:
        self.torch.save(self.model, self.folder / "peer.model")
        return {}

    def start(self) -> dict[str, Any]:
        self.optimizer = self.torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE)
        return {}

    def loop(self) -> AbstractContextManager[None]:
        return nullcontext()

    def step(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(self.batch.to_dict(), training=True, compute_force=True)
        loss = self.loss(pred=output, ref=self.batch)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=MAX_GRADIENT_NORM)
        self.optimizer.step()
        return float(loss.detach())


def samples_of(file: Path) -> list[Any]:
    """The structures of a batch for so3md."""
    from so3md.reference.graph import Structure
    from so3md.training.sample import Sample

    return [
        Sample(Structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc), energy=energy, forces=forces)
        for atoms, energy, forces in read_batch(file)
    ]


class Own:
    """so3md: its trainer; the batch lies ready."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads

    def start(self) -> dict[str, Any]:
        from so3md.model_file import ModelFile
        from so3md.training.config import Config, DataConfig, LossConfig, TrainingConfig
        from so3md.training.model import make_model
        from so3md.training.run import make_model_items
        from so3md.training.trainer import Trainer

        samples = samples_of(self.folder / "batch.npz")
        model = make_model(ModelFile.read(self.folder / "model.safetensors"), None).float()
        training = TrainingConfig(
            batch_size=len(samples), learning_rate=LEARNING_RATE, gradient_clipping=MAX_GRADIENT_NORM, ema_decay=None
        )
        loss = LossConfig(energy=ENERGY_WEIGHT, forces=FORCES_WEIGHT)
        items = make_model_items(model, samples)
        self.trainer = Trainer(model, items, items, Config(DataConfig("none"), loss=loss, training=training))
        model.use_threads(self.threads)
        self.batch = self.trainer.join(items)
        return {}

    def loop(self) -> AbstractContextManager[None]:
        from so3md.training.garbage import present_objects_left_alone

        return present_objects_left_alone()

    def step(self) -> float:
        errors = self.trainer.differentiate(self.batch)
        self.trainer.optimiser.clip()
        self.trainer.optimiser.step()
        energy, forces = (row[1] / row[2] for row in errors[:2])
        return float(ENERGY_WEIGHT * energy + FORCES_WEIGHT * forces)


def _kibibytes(name: str) -> int:
    """A value of the system's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


class Worker:
    def __init__(self, program: str, folder: Path, threads: int) -> None:
        self.program = {"so3md": Own, "so3krates-torch": Peer}[program](folder, threads)

    def save_model(self) -> dict[str, Any]:
        return self.program.save_model()

    def start(self) -> dict[str, Any]:
        return self.program.start()

    def memory(self) -> dict[str, Any]:
        """Take a step: the bytes by which the resident memory grows at most."""
        Path("/proc/self/clear_refs").write_text("5")  # the largest value begins anew
        before = _kibibytes("VmRSS")
        self.program.step()
        return {"bytes": 1024 * (_kibibytes("VmHWM") - before)}

    def steps(self, count: int) -> dict[str, Any]:
        """Take steps: seconds and loss of each."""
        seconds, losses = [], []
        with self.program.loop():
            for _ in range(count):
                begin = time.perf_counter()
                losses.append(self.program.step())
                seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds, "losses": losses}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=("so3md", "so3krates-torch"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    serve(lambda: Worker(arguments.program, arguments.folder, arguments.threads))

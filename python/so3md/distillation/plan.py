"""What a distillation is to do: settings, their defaults and what they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ase import Atoms

from so3md.limits import Limits
from so3md.training.config import Config, DataConfig, LossConfig, ScheduleConfig, Split, TrainingConfig

#: Atoms in all frames together: water needs some 30,000 for what a student of this size can learn.
_ATOMS = 30_000
_FEWEST_FRAMES, _MOST_FRAMES = 10, 400
#: Atoms in a step of the optimiser.
_BATCH_ATOMS = 200
#: Steps of the optimiser, if nothing else is asked for.
_STEPS = 6000

_LIMITS = {
    "layers": Limits(1, 10, whole=True),
    "features": Limits(4, 1000, whole=True),
    "cutoff": Limits(1.0, 20.0, "A"),
    "frames": Limits(_FEWEST_FRAMES, 1e6, whole=True),
    "epochs": Limits(1, 1e9, whole=True),
    "time_limit": Limits(1e-6, 1e9, "h"),
    "seed": Limits(0, 2.0**63 - 1, whole=True),
    "threads": Limits(1, 1024, whole=True),
}
_TEMPERATURE = Limits(1.0, 1e4, "K")


@dataclass(frozen=True)
class Plan:
    """Settings of a distillation. Raises ValueError for what is out of range.

    teacher: name or file of the model that the student is to be like; temperatures (K) at which its dynamics take
    frames of each structure; frames: of each structure at each temperature (None: so many that there are 30,000 atoms
    in all, from 10 to 400). layers, features, cutoff (A): of the student, which has degrees 1 and 2. epochs (None: some
    6000 steps), time_limit (h): of the training; seed: of all random numbers; threads (None: for the teacher all, for
    the training as many as pay).
    """

    teacher: str = "so3lr"
    temperatures: tuple[float, ...] = (300.0, 600.0)
    frames: int | None = None
    layers: int = 2
    features: int = 32
    cutoff: float = 3.5
    epochs: int | None = None
    time_limit: float | None = None
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, limits in _LIMITS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, limits.checked(name, value))  # the class is frozen
        if not self.temperatures:
            raise ValueError("temperatures: expected at least one, found none")
        checked = tuple(_TEMPERATURE.checked("temperature", value) for value in self.temperatures)
        object.__setattr__(self, "temperatures", checked)
        if self.features % 4:
            raise ValueError(f"features {self.features}: expected a multiple of 4, the number of heads")

    def document(self) -> dict[str, Any]:
        """The plan as plain data, from which `of` makes it again."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Plan:
        """The plan of such a document. Raises TypeError or ValueError for what is none."""
        return cls(**{**document, "temperatures": tuple(document["temperatures"])})

    def frames_of(self, structures: Sequence[Atoms]) -> list[int]:
        """For each structure, the number of frames at each temperature."""
        if self.frames is not None:
            return [self.frames] * len(structures)
        share = _ATOMS / (len(structures) * len(self.temperatures))
        return [min(max(round(share / len(atoms)), _FEWEST_FRAMES), _MOST_FRAMES) for atoms in structures]

    def config(self, files: Sequence[str], sizes: Sequence[int], name: str) -> Config:
        """The configuration of the training on these files, whose frames have these numbers of atoms."""
        batch = max(1, round(_BATCH_ATOMS * len(sizes) / sum(sizes)))
        held_out = max(1, len(sizes) // 10)
        training = len(sizes) - 2 * held_out
        epochs = self.epochs or max(1, round(_STEPS * batch / training))
        return Config(
            data=DataConfig(files=list(files), split=Split(train=training, validation=held_out, test=held_out)),
            model={
                "num_features": self.features,
                "num_heads": 2,  # each costs sums across registers, for every pair
                "num_layers": self.layers,
                "degrees": [1, 2],
                "cutoff": self.cutoff,
                # Wide radial networks cost nothing later: the engine takes their filters from tables.
                "radial_basis": {"type": "bernstein", "size": 32},
                "radial_hidden": 4 * self.features,
                "spherical_hidden": self.features // 2,
                "attention_normalization": {"type": "constant"},
            },
            # Only forces move atoms; energies of teacher and student never meet.
            loss=LossConfig(energy=0.0, forces=1.0),
            training=TrainingConfig(
                epochs=epochs,
                batch_size=batch,
                learning_rate=3e-3,
                ema_decay=0.99,
                validation_interval=max(1, epochs // 20),
                schedule=ScheduleConfig(type="cosine"),
                time_limit=self.time_limit,
            ),
            seed=self.seed,
            threads=self.threads,
            name=name,
        )

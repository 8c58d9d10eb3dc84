"""The configuration of a training run: what may stand in config.yaml, with defaults and checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from so3md import reference_values
from so3md.bounded_yaml import shown
from so3md.data_sets import SPIN_CONVENTIONS
from so3md.devices import DEVICES
from so3md.nearest_name import closest
from so3md.training.schema import ConfigError, build, read_yaml

PRECISIONS = ("float32", "float64")
ADAMW, MUON = "adamw", "muon"
OPTIMISERS = (ADAMW, MUON)
SCHEDULES = ("exponential", "plateau", "cosine", "constant")
#: What a loss may ask for: no partial charges, which no experiment or calculation defines.
QUANTITIES = tuple(name for name in reference_values.QUANTITIES if name != "charges")
PARTS = ("train", "validation", "test")
#: Of numbers that only make sense far below, so that nothing overflows later on.
MOST = 1_000_000_000
REFERENCE_ENERGIES = ("fit", "model", "none")


def _require(condition: bool, key: str, expected: str, found: Any) -> None:
    if not condition:
        raise ConfigError(f"{key}: expected {expected}, found {shown(found)}")


def _one_of(key: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise ConfigError(f"{key}: expected one of {', '.join(names)}, found {value!r}; {closest(value, names)}")


def _check_spin_convention(value: str | None) -> None:
    if value is not None:
        _one_of("spin_convention", value, SPIN_CONVENTIONS)


@dataclass
class Units:
    """Units of a file. energy and length decide the rest unless it is given."""

    energy: str | None = None
    length: str | None = None
    forces: str | None = None
    stress: str | None = None
    dipole: str | None = None


@dataclass
class Source:
    """A file of the data set. index: frames, as ASE writes slices; format: name that ASE gives it, if it needs help."""

    path: str
    index: str = ":"
    format: str | None = None
    units: Units | None = None
    keys: dict[str, str] | None = None
    spin_convention: str | None = None

    def __post_init__(self) -> None:
        _check_spin_convention(self.spin_convention)


Files = str | Source | list[str | Source]
Part = int | float | str | list[int]


@dataclass
class Split:
    """How `data.files` is divided: numbers of structures, fractions, a slice such as "0:1000", or lists of indices.

    file: an .npz with one array of indices for each part (idx_train, idx_val, idx_test or the names of the parts).
    seed: by which numbers and fractions are drawn; None: that of the run.
    """

    train: Part | None = None
    validation: Part | None = None
    test: Part | None = None
    file: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(self.seed is None or 0 <= self.seed < 1 << 63, "seed", "an integer that is not negative", self.seed)
        for name in PARTS:
            value = getattr(self, name)
            if self.file is not None and value is not None:
                raise ConfigError(f"{name}: not together with split.file, which lists the structures of every part")
            if isinstance(value, float):
                _require(0 < value <= 1, name, "a fraction above 0 and at most 1, or a whole number", value)
            if isinstance(value, int):
                _require(0 <= value <= MOST, name, "a number of structures that is not negative", value)
            if isinstance(value, list):
                wrong = [index for index in value if not 0 <= index <= MOST]
                _require(not wrong, name, "indices of structures, which are not negative", wrong[:1])


@dataclass
class DataConfig:
    """Where the structures come from. Paths are relative to the configuration file.

    on_disk: whether files are converted and stay on disk; None: large ones. cache: folder for what is converted.
    """

    files: Files | None = None
    train_files: Files | None = None
    validation_files: Files | None = None
    test_files: Files | None = None
    units: Units = field(default_factory=Units)
    keys: dict[str, str] = field(default_factory=dict)
    split: Split = field(default_factory=Split)
    spin_convention: str | None = None
    check_labels: bool = True
    on_disk: bool | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        _check_spin_convention(self.spin_convention)
        if self.files is None and self.train_files is None:
            raise ConfigError("files: the key is missing; name the data to train on (files, or train_files)")


@dataclass
class LossConfig:
    """Weights of the squared errors (eV, A, e units); see docs/training.md."""

    energy: float = 1.0
    forces: float = 10.0
    stress: float = 0.0
    dipole: float = 0.0
    hirshfeld_ratios: float = 0.0
    energy_per: str = "atom"

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            expected = f"a weight that is not negative, at most {MOST:.0e}"
            _require(0 <= getattr(self, name) <= MOST, name, expected, getattr(self, name))
        if not any(self.weights.values()):
            raise ConfigError("forces: at least one weight must be positive, found none")
        _one_of("energy_per", self.energy_per, ("atom", "structure"))

    @property
    def weights(self) -> dict[str, float]:
        """Quantity -> weight."""
        return {name: getattr(self, name) for name in QUANTITIES}


@dataclass
class ScheduleConfig:
    """The learning rate after the warm-up.

    exponential and cosine: from learning_rate down to `final` (a fraction of it) at the last step; plateau: times
    `factor` after `patience` validations without improvement, not below `final`.
    """

    type: str = "exponential"
    final: float = 0.01
    factor: float = 0.5
    patience: int = 20

    def __post_init__(self) -> None:
        _one_of("type", self.type, SCHEDULES)
        _require(0 < self.final <= 1, "final", "a fraction above 0 and at most 1", self.final)
        _require(0 < self.factor < 1, "factor", "a number between 0 and 1", self.factor)
        _require(1 <= self.patience <= MOST, "patience", "a positive number of validations", self.patience)


@dataclass
class TrainingConfig:
    """How the parameters are optimised."""

    epochs: int = 500
    batch_size: int = 10
    optimiser: str = ADAMW
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warm_up_steps: int = 0
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    gradient_clipping: float | None = 10.0
    ema_decay: float | None = 0.999
    validation_interval: int = 1
    validation_batch_size: int = 50
    early_stopping: int | None = None
    time_limit: float | None = None
    freeze: list[str] = field(default_factory=list)
    low_rank: int | None = None

    def __post_init__(self) -> None:
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        for name in ("epochs", "batch_size", "validation_interval", "validation_batch_size"):
            value = getattr(self, name)
            _require(1 <= value <= MOST, name, f"a positive integer, at most {MOST:.0e}", value)
        _require(0 < self.learning_rate <= 1e3, "learning_rate", "a positive number, at most 1000", self.learning_rate)
        _require(0 <= self.weight_decay <= MOST, "weight_decay", "a number that is not negative", self.weight_decay)
        _require(0 <= self.warm_up_steps <= MOST, "warm_up_steps", "a number of steps", self.warm_up_steps)
        for name in ("gradient_clipping", "early_stopping", "time_limit"):
            value = getattr(self, name)
            expected = f"a positive number, at most {MOST:.0e}, or null"
            _require(value is None or 0 < value <= MOST, name, expected, value)
        rank = self.low_rank
        expected = f"a rank, which is a positive integer, at most {MOST:.0e}, or null"
        _require(rank is None or 1 <= rank <= MOST, "low_rank", expected, rank)
        if rank is not None and self.optimiser == MUON:
            raise ConfigError("low_rank: not together with optimiser: muon, which trains whole matrices; take adamw")
        decay = self.ema_decay
        _require(decay is None or 0 <= decay < 1, "ema_decay", "a number from 0 to below 1, or null", decay)


@dataclass
class Config:
    """A whole run. model: hyperparameters that differ from the defaults, see `so3md.training.hyperparameters`."""

    data: DataConfig
    model: dict[str, Any] = field(default_factory=dict)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    reference_energies: str | dict[str, float] | None = None
    scale: str | float = "forces"
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    threads: int | None = None
    name: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        _one_of("device", self.device.split(":")[0], DEVICES)
        _one_of("precision", self.precision, PRECISIONS)
        _require(0 <= self.seed < 1 << 63, "seed", "an integer that is not negative, below 2^63", self.seed)
        few = self.threads is None or 1 <= self.threads <= 1024
        _require(few, "threads", "a positive integer, at most 1024, or null", self.threads)
        if isinstance(self.reference_energies, str):
            _one_of("reference_energies", self.reference_energies, REFERENCE_ENERGIES)
        for symbol, value in self.reference_energies.items() if isinstance(self.reference_energies, dict) else ():
            expected = f"an energy (eV), at most {MOST:.0e} in size"
            _require(abs(value) <= MOST, f"reference_energies.{symbol}", expected, value)
        if isinstance(self.scale, str):
            _one_of("scale", self.scale, ("forces",))
        else:
            _require(0 < self.scale <= MOST, "scale", 'a positive number (eV), or "forces"', self.scale)

    def document(self) -> dict[str, Any]:
        """The whole configuration, defaults included, as plain data."""
        return asdict(self)


def read_config(path: str | Path) -> Config:
    """Read and check a configuration file. Raises ConfigError, naming file and key.

    >>> from pathlib import Path
    >>> import so3md.training
    >>> config = read_config(Path(so3md.training.__file__).with_name("example.yaml"))
    >>> config.seed, config.loss.energy_per
    (0, 'atom')
    """
    path = Path(path)
    document = read_yaml(path)
    try:
        return build(Config, document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error

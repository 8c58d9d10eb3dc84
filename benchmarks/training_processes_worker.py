"""Child process of training_processes.py: a training that is asked for steps, alone or with others that it starts.

    python training_processes_worker.py BATCH --processes N --threads N

BATCH is an .npz of `training_batches.save_batch`. The first process answers, the others do what it does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from serving import serve
from training_worker import samples_of

from so3md.reference.initial import new_model
from so3md.torch_launch import STORE
from so3md.training.config import Config, DataConfig, TrainingConfig
from so3md.training.hyperparameters import complete
from so3md.training.model import make_model
from so3md.training.processes import TrainingTeam, launched_team
from so3md.training.run import make_model_items
from so3md.training.trainer import Trainer

MODEL = {"num_features": 128, "num_heads": 4, "degrees": [1, 2, 3, 4], "num_layers": 3}
ENDLESS = 10**8


class Worker:
    """Takes steps on one batch, which is that of the whole data set."""

    def __init__(self, file: Path, team: TrainingTeam, threads: int) -> None:
        samples = samples_of(file)
        architecture, hyper = complete(MODEL, samples)
        elements = sorted({int(z) for sample in samples for z in sample.structure.numbers})
        model = make_model(new_model(hyper, elements, 0, architecture, dtype=np.float32)).float()
        training = TrainingConfig(epochs=ENDLESS, batch_size=len(samples), validation_interval=ENDLESS)
        items = make_model_items(model, samples)
        model.use_threads(threads)
        self.team = team
        self.trainer = Trainer(model, items, items, Config(DataConfig("none"), training=training), team)

    def steps(self, count: int) -> dict[str, Any]:
        """Take steps: seconds of each, and the root mean square errors of the forces over all."""
        self.team.from_leader(lambda: count)
        return self.take(count)

    def take(self, count: int) -> dict[str, Any]:
        ends = [time.perf_counter()]
        last = self.trainer.step + count
        self.trainer.run(lambda: ends.append(time.perf_counter()), should_stop=lambda: self.trainer.step >= last)
        return {"seconds": np.diff(ends).tolist(), "rmse": self.trainer.errors.rmse("forces")}

    def follow(self) -> None:
        """Do what the first process does, until it says 0."""
        while count := self.team.from_leader(lambda: 0):
            self.take(count)


def start_others(count: int) -> tempfile.TemporaryDirectory[str]:
    """Start the other processes, and let this one be the first; returns where they meet."""
    folder = tempfile.TemporaryDirectory()
    os.environ |= {STORE: f"{folder.name}/store", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    for rank in reversed(range(count)):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        if rank:
            subprocess.Popen([sys.executable, *sys.argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("batch", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    folder = start_others(arguments.processes) if "RANK" not in os.environ else None
    team = launched_team()
    worker = Worker(arguments.batch, team, arguments.threads)
    if team.leads:
        serve(lambda: worker)
        team.from_leader(lambda: 0)
    else:
        worker.follow()
    team.close()
    if folder is not None:
        folder.cleanup()


if __name__ == "__main__":
    main()

"""How many threads a training uses: as many as pay, which is measured on its own first steps.

Operations of a network for small molecules are too short to be shared, and cores that other programs use slow down
all threads that wait for one another. More threads are taken only where steps are clearly quicker with them.
"""

from __future__ import annotations

import itertools
import statistics
import time

import torch

from so3md.training.trainer import Trainer

#: Threads that PyTorch takes by itself: all cores that the process may use, or OMP_NUM_THREADS.
MOST = torch.get_num_threads()

_TURNS = 5
_SECONDS = 10.0  # after which no further turn begins
_GAIN = 0.85  # a step on more threads must take less than this share of the time


def choose_threads(trainer: Trainer) -> int:
    """The number of threads with which steps are quickest. Leaves the state of the training as it is."""
    candidates = _candidates(MOST)
    if len(candidates) == 1:
        return 1
    before = trainer.model.threads
    batch = trainer.join(trainer.first_items())
    times: dict[int, list[float]] = {count: [] for count in candidates}
    begin = time.perf_counter()
    try:
        # In turns, so that what else the machine does affects all alike; the first step of each number starts threads.
        for turn in itertools.count():
            for count in candidates:
                trainer.model.use_threads(count)
                start = time.perf_counter()
                trainer.differentiate(batch)
                if turn or time.perf_counter() - begin > _SECONDS:
                    times[count].append(time.perf_counter() - start)
            if turn and (turn == _TURNS or time.perf_counter() - begin > _SECONDS):
                break
    finally:
        trainer.model.use_threads(before)
        trainer.parameters.zero_gradient()
    return quickest({count: statistics.median(values) for count, values in times.items()})


def quickest(times: dict[int, float]) -> int:
    """Number of threads to take, from the time of a step for each."""
    best = min(times)
    for count in sorted(times):
        if times[count] < _GAIN * times[best]:
            best = count
    return best


def _candidates(most: int) -> list[int]:
    """1, 2, 4, ... and the most."""
    return sorted({min(1 << power, most) for power in range(most.bit_length() + 1)})

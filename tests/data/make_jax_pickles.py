"""How tests/data/jax_pickles was made: the same toy model, pickled by several versions of JAX, flax and NumPy.

python tests/data/make_jax_pickles.py LABEL     with tests and python on PYTHONPATH, once in each environment
"""

import pickle
import sys
from pathlib import Path

from foreign_models import foreign_toy_model, jax_parameters

DIRECTORY = Path(__file__).parent / "jax_pickles"


def main(label: str) -> None:
    import flax
    import jax
    import jax.numpy as jnp

    DIRECTORY.mkdir(exist_ok=True)
    params, _ = jax_parameters(foreign_toy_model(seed=5))
    arrays = jax.tree_util.tree_map(jnp.asarray, params)
    (DIRECTORY / f"{label}_jax.pkl").write_bytes(pickle.dumps(arrays))
    (DIRECTORY / f"{label}_frozen.pkl").write_bytes(pickle.dumps(flax.core.freeze(arrays), protocol=2))
    (DIRECTORY / f"{label}_numpy.pkl").write_bytes(pickle.dumps(params, protocol=5))


if __name__ == "__main__":
    main(sys.argv[1])

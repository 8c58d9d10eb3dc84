"""Relaxes many molecules on the workers of Dask: here processes of this machine, elsewhere nodes of a cluster.

    pip install 'distributed>=2024.8'
    python throughput.py

Each worker keeps one calculator with one thread. A molecule that fails is named and does not stop the others.
"""

from __future__ import annotations

from ase.build import molecule
from ase.optimize import LBFGS
from distributed import Client, LocalCluster, as_completed, get_worker

from so3md import So3kratesCalculator

NAMES = ("H2O", "NH3", "CH4", "CH3OH", "H2CO", "SiH4")  # the model does not know silicon


def relax(name: str) -> str:
    """Runs on a worker: what became of a molecule."""
    worker = get_worker()
    if not hasattr(worker, "calculator"):  # made once, and not for each molecule
        worker.calculator = So3kratesCalculator("so3lr", threads=1)
    atoms = molecule(name)
    atoms.calc = worker.calculator
    optimizer = LBFGS(atoms, logfile=None)
    try:
        converged = optimizer.run(fmax=0.01, steps=200)
    except ValueError as error:
        return f"failed: {error}"
    return (
        f"{atoms.get_potential_energy():.3f} eV after {optimizer.nsteps} steps{'' if converged else ', not converged'}"
    )


def main() -> None:
    # On a cluster, dask_jobqueue.SLURMCluster(cores=1, ...) takes the place of LocalCluster.
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        futures = {client.submit(relax, name): name for name in NAMES}
        for future in as_completed(futures):
            print(f"{futures[future]}: {future.result()}")


if __name__ == "__main__":
    main()

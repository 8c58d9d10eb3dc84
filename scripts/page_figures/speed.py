"""Figures of time and memory: beside other programs, by size, by processes, by what is evaluated."""

from __future__ import annotations

import json
import re

from page_figures.common import MINUS, Record, hardware, paragraph, read, short, span, table


def sizes_of(cases: list[Record]) -> list[Record]:
    return [case for case in cases if case["atoms"] >= 1536]


def share_of_limit(case: Record) -> float:
    return 100 * case["share_of_limit"]


TORCH32, COMPILED, TORCH64 = (f"so3krates-torch{name}" for name in (" float32", "-compiled float32", " float64"))


def _compared(report: Record, own: str, *peers: str) -> list[list[str]]:
    """For each size and number of threads, our time, and of each peer its time and how much longer it is."""
    times = {(row["atoms"], row["threads"], row["side"]): row["median_us_per_atom"] for row in report["timings"]}
    ratios = {(row["atoms"], row["threads"], row["side"], row["peer"]): row["times_faster"] for row in report["ratios"]}
    rows = []
    for case in sorted({key[:2] for key in times}, key=lambda key: (key[0], -key[1])):
        row = [*map(str, case), f"{times[(*case, own)]:.0f}"]
        for peer in peers:
            row += [f"{times[(*case, peer)]:.0f}", f"**{ratios[(*case, own, peer)]:.1f}**"]
        rows.append(row)
    return rows


def comparison_in_short() -> str:
    """README: the table of `mixed`, and what it was measured on."""
    report = read("compare_so3krates_torch")
    text = (
        f"Liquid water with all physics terms, through ASE, on {hardware(report['machine'])}, beside so3krates-torch "
        f"{report['versions']['so3krates-torch']} in float32. Medians of one interleaved run, in µs per atom and step:"
    )
    header = ["atoms", "threads", "so3md", "so3krates-torch", "faster by", "with `torch.compile`", "faster by"]
    memory = (
        "From 1536 atoms on, the time per atom hardly depends on the size. Peak memory is "
        f"{span(list(_memory_by_size().values()))} kB per atom (the peer: {_memory_of_peer():.0f} kB)."
    )
    times = table(header, _compared(report, "so3md mixed", TORCH32, COMPILED))
    return f"{paragraph(text)}\n\n{times}\n\n{paragraph(memory)}"


def comparison() -> str:
    """docs/performance.md: the tables of both precisions."""
    report = read("compare_so3krates_torch")
    worst = max(row["max_force_difference_eV_per_A"] for row in report["agreement"] if row["side"] == "so3md mixed")
    peer = f"so3krates-torch {report['versions']['so3krates-torch']}"
    text = (
        f"On {hardware(report['machine'])}, with {peer}; medians in µs per atom and step. "
        f"Forces of `mixed` differ from the peer's in float64 by at most {short(worst)} eV/Å."
    )
    header = ["atoms", "threads", "so3md `mixed`", "torch float32", "faster by", "with `torch.compile`", "faster by"]
    mixed = table(header, _compared(report, "so3md mixed", TORCH32, COMPILED))
    header = ["atoms", "threads", "so3md `double`", "torch float64", "faster by"]
    double = table(header, _compared(report, "so3md double", TORCH64))
    return f"{paragraph(text)}\n\n{mixed}\n\n{double}"


def _memory_by_size() -> dict[int, float]:
    """Peak memory in kB per atom, from 1536 atoms on."""
    return {case["atoms"]: case["memory"]["kb_per_atom"] for case in sizes_of(read("sizes")["cases"])}


def _memory() -> str:
    """The same in words: with filters that are kept, and without."""
    used = _memory_by_size()
    kept = {atoms: kb for atoms, kb in used.items() if kb > 1.5 * min(used.values())}
    others = [kb for atoms, kb in used.items() if atoms not in kept]
    more = f"{span(list(kept.values()))} kB up to {max(kept)} atoms, where filters are kept"
    return f"{span(others)} kB per atom, and {more}"


def _memory_of_peer() -> float:
    memory = read("compare_so3krates_torch")["memory"]
    return next(row["kb_per_atom"] for row in memory if row["side"] == TORCH32)


def limit() -> str:
    """docs/performance.md: shares of the limit, and memory."""
    report, compared = read("sizes"), read("compare_so3krates_torch")
    cases = report["cases"]
    time = next(
        row["median_us_per_atom"]
        for row in compared["timings"]
        if (row["atoms"], row["threads"], row["side"]) == (1536, 2, "so3md mixed")
    )
    least = next(row["us_per_atom"] for row in compared["limit"] if row["threads"] == 2)
    return paragraph(
        "The limit is the counted work of a step at the rate of a large float matrix product measured in the same "
        f"run. so3md runs at {span([share_of_limit(case) for case in cases])} % of it ({100 * least / time:.0f} % in "
        f"the run beside the peer). Peak memory is {_memory()} (the peer: {_memory_of_peer():.0f} kB)."
    )


def sizes() -> str:
    """docs/performance.md: time and memory by size."""
    report = read("sizes")
    relative = report["summary"]["time_per_atom_relative_to_1536"]
    rows = [
        [
            str(case["atoms"]),
            f"{case['us_per_atom']:.1f}",
            f"{relative[str(case['atoms'])]:.3g}",
            f"{share_of_limit(case):.0f}",
            f"{case['memory']['kb_per_atom']:.1f}",
        ]
        for case in report["cases"]
    ]
    summary = report["summary"]
    text = (
        f"Up to 41472 atoms, all sizes are within {100 * summary['largest_deviation_from_1536']:.0f} % of 1536 atoms, "
        f"and the slowest takes {summary['slowest_over_fastest']:.2f} times as long per atom as the fastest."
    )
    where = f"{hardware(report['machine'])}, {report['cases'][0]['threads']} threads, {report['date']}:"
    header = ["atoms", "µs per atom and step", "relative", "of the limit, %", "kB per atom"]
    return f"{where}\n\n{table(header, rows)}\n\n{paragraph(text)}"


def work() -> str:
    """docs/performance.md: the counted work of a step."""
    from so3md import load_model
    from so3md.benchmark.work import count_work

    hyperparameters = json.loads(load_model("so3lr").metadata)["hyperparameters"]
    counted = count_work(hyperparameters, read("sizes")["cases"][1]["neighbours_per_atom"])
    rows = [
        [
            "spherical filters (17), layers 2 and 3, forward, again and backward, for each *pair*",
            f"{counted.filters:.1f}",
        ],
        ["rest on edges: attention weights, sums, spherical harmonics, tables", f"{counted.edges:.1f}"],
        ["node products: projections, MLPs, exchange, readouts, both ways", f"{counted.nodes:.1f}"],
        ["**total**", f"**{counted.total:.1f}**"],
    ]
    return table(["", "MFLOP"], rows)


def _speeds() -> dict[tuple[int, str], float]:
    comparisons = read("parallel")["comparisons"]
    return {(one["atoms"], side["side"]): side["relative_speed"] for one in comparisons for side in one["sides"]}


def processes_in_short() -> str:
    """docs/performance.md: LAMMPS, ASE and MPI."""
    speeds = _speeds()
    two_small = speeds[(1536, "LAMMPS, 2 x 1")] / speeds[(1536, "LAMMPS, 1 x 2")]
    percent = {key: f"{100 * speed:.0f} %" for key, speed in speeds.items()}
    return paragraph(
        f"LAMMPS and MPI (`python benchmarks/parallel.py`, {hardware(read('parallel')['machine'])}): molecular "
        f"dynamics in LAMMPS has {speeds[(1536, 'LAMMPS, 1 x 2')]:.3g} times the speed of that in ASE (1536 atoms, 2 "
        f"threads). Two processes of one thread reach {100 * two_small:.0f} % (1536 atoms) and "
        f"{percent[(5184, 'LAMMPS, 2 x 1')]} (5184 atoms) of the speed of one process with two threads; in ASE, "
        f"{percent[(5184, 'ASE, 2 x 1')]} at 5184 atoms."
    )


def processes() -> str:
    """docs/performance.md: the table of processes."""
    report = read("parallel")
    rows, sent = [], []
    for comparison_ in report["comparisons"]:
        for side in comparison_["sides"]:
            host, _, grid = side["side"].partition(", ")
            count, threads = grid.split(" x ")
            turns = sorted(side["ms_per_step"])
            plural = ("process" if count == "1" else "processes", "thread" if threads == "1" else "threads")
            name = f"{host}, {count} {plural[0]} of {threads} {plural[1]}"
            rows.append(
                [name, str(comparison_["atoms"]), f"{turns[len(turns) // 2]:.0f}", f"{side['relative_speed']:.3g}"]
            )
            if "bytes_per_step" in side:
                text = f"{side['bytes_per_step'] / 1e6:.2f} MB ({comparison_['atoms']} atoms)"
                sent.append((text, side["messages_per_step"]))
    sizes_text = " and ".join(text for text, _ in sent)
    return (
        table(["", "atoms", "ms per step", "speed"], rows)
        + f"\n\nLAMMPS processes send {sizes_text} each per step, in {sent[0][1]:.0f} messages."
    )


def compilers() -> str:
    """docs/performance.md: Clang's code beside that of GCC."""
    report = read("compilers")
    first, second = (re.sub(r"GCC: .*\)|.*clang version", "", build).strip() for build in report["builds"])
    ratios = {row["precision"]: row["ratio"] for row in report["rows"]}
    low, high = zip(*(row["quartiles_of_ratios"] for row in report["rows"]), strict=True)
    return paragraph(
        f"A step takes {ratios['mixed']:.2f} times as long with the code of Clang {second} as with that of GCC {first} "
        f"in `mixed` and {ratios['double']:.2f} times in `double` (`python benchmarks/builds.py`: 192 atoms, 1 thread, "
        f"{hardware(report['machine'])}). Half of the single turns have {min(low):.2f} to {max(high):.2f}."
    )


def instruction_sets() -> str:
    """docs/performance.md: the same step with the kernels of every instruction set."""
    report = read("instruction_sets")
    rows = [
        [
            f"`{case['instruction_set']}`",
            str(case["threads"]),
            f"{case['us_per_atom']:.1f}",
            f"{case['speedup_over_portable']:.2f}",
            f"{100 * case['share_of_limit']:.0f}",
        ]
        for case in report["cases"]
    ]
    text = f"Water, {report['cases'][0]['atoms']} atoms, `mixed`, {hardware(report['machine'])}:"
    header = ["set", "threads", "µs per atom and step", "times portable", "of the limit, %"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def kept_filters() -> str:
    """docs/performance.md: filters that are kept for the adjoint beside those that are worked out again."""
    report = read("kept_filters")
    rows = [
        [
            str(row["atoms"]),
            str(row["threads"]),
            *(f"{us:.1f}" for us in row["us_per_atom"]),
            f"{row['ratio']:.3f} ± {row['standard_error_of_ratio']:.3f}",
        ]
        for row in report["rows"]
    ]
    memory = report["memory_kb_per_atom"]
    text = (
        f"SO3LR in water, `mixed`, {hardware(report['machine'])}; CPU time of all threads in µs per atom, medians of "
        f"{report['rows'][0]['turns']} turns each (`python benchmarks/kept_filters.py`). An engine takes "
        f"{memory['kept']:.0f} kB per atom where it keeps them, and {memory['again']:.0f} where it does not "
        f"({memory['atoms']} atoms)."
    )
    header = ["atoms", "threads", "kept", "worked out again", "times faster"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def generations() -> str:
    """docs/so3lr2.md: a step of the second generation beside one of the first."""
    report = read("generations")
    more = " and ".join(
        f"{100 * (row['ratio'] - 1):+.1f} ± {100 * row['standard_error_of_ratio']:.1f} % in `{row['precision']}`"
        for row in report["rows"]
    ).replace("-", MINUS)
    return paragraph(
        "A step of a model of the size of SO3LR, with everything in the table but repeated degrees and another cutoff, "
        f"beside a step of SO3LR: {more} (`python benchmarks/generations.py`: {report['atoms']} atoms of water, "
        f"1 thread, {report['rows'][0]['turns']} pairs of turns, {hardware(report['machine'])})."
    )


def energy_first() -> str:
    """docs/performance.md: an energy and then the forces of the same structure, beside forces at once."""
    report = read("energy_then_forces")
    rows = []
    for row in report["rows"]:
        ratios = [f"{row['ratios'][way]:.2f}" for way in ("energy_then_forces", "nothing_kept", "energy")]
        rows.append([str(row["atoms"]), str(row["threads"]), f"{row['milliseconds']['forces']:.3g}", *ratios])
    text = f"SO3LR, `mixed`, through ASE, on {hardware(report['machine'])}; medians of interleaved turns:"
    header = ["atoms", "threads", "forces, ms", "energy, then forces", "if nothing were kept", "energy alone"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def nonlocal_before() -> str:
    """docs/performance.md: attention between all atoms in two builds, and for many atoms."""
    report, many = read("nonlocal_builds"), read("nonlocal_20577")
    rows = [
        [
            str(row["atoms"]),
            f"`{row['precision']}`",
            *(f"{seconds:.2f}" for seconds in row["cpu_seconds"]),
            f"**{row['times_faster_cpu']:.1f}**",
            f"{row['times_faster']:.1f}",
            short(max(row["difference_of_energies"], row["difference_of_forces"])),
        ]
        for row in report["rows"]
    ]
    threads = report["rows"][0]["threads"]
    text = (
        f"On {hardware(report['machine'])}, {threads} threads; medians of interleaved turns. CPU: seconds of both "
        "threads together. Differences are those of energies of atoms and of forces, relative to the largest."
    )
    header = ["atoms", "precision", "before, CPU s", "now, CPU s", "faster (CPU)", "faster (elapsed)", "difference"]
    large = many["rows"][0]
    end = (
        f"{large['atoms']} atoms take {large['seconds']:.0f} s (`{many['settings']['precision']}`, "
        f"{many['settings']['threads']} threads, {hardware(many['machine'])}) and {large['memory_mib']:.0f} MiB."
    )
    return f"{paragraph(text)}\n\n{table(header, rows)}\n\n{paragraph(end)}"


def training_step() -> str:
    """docs/training.md: a step of training beside so3krates-torch."""
    report = read("training_step")
    rows = []
    for one in report["batches"]:
        times = {(row["threads"], row["side"]): row["median_ms"] for row in one["timings"]}
        for row in (*one["ratios"], one["best"]):
            own, peer = row["threads"], row["threads_of_peer"]
            own_time, peer_time = times[own, "so3md"], times[peer, "so3krates-torch"]
            rows.append(
                [
                    one["batch"],
                    f"best ({own}, {peer})" if row is one["best"] else str(own),
                    f"{own_time:.0f} ms",
                    f"{peer_time:.0f} ms",
                    f"**{row['times_faster']:.1f}**",
                ]
            )
    memory = ", ".join(
        f"{one['bytes_per_atom']['so3md'] / 1e6:.2f} and {one['bytes_per_atom']['so3krates-torch'] / 1e6:.2f} "
        f"({one['batch']})"
        for one in report["batches"]
    )
    text = (
        f"On {hardware(report['machine'])}, {report['date']}, with a load of "
        f'{report["machine"]["load_average_before"]:.1f} before; medians of interleaved turns. "best" is each with '
        "the number of threads that is best for it (so3md, so3krates-torch)."
    )
    end = f"A step takes this much memory, in MB for each atom of the batch, so3md and so3krates-torch: {memory}."
    header = ["batch", "threads", "so3md", "so3krates-torch", "faster by"]
    return f"{paragraph(text)}\n\n{table(header, rows)}\n\n{paragraph(end)}"


def training_processes() -> str:
    """docs/training.md: a step of training on two threads and on two processes."""
    report = read("training_processes")
    rows = [
        [
            row["batch"],
            str(row["processes"]),
            str(row["threads"]),
            f"{row['median_ms']:.0f} ms",
            f"**{row['times_faster']:.2f}**",
        ]
        for row in report["timings"]
    ]
    text = (
        f"Whole steps, with the making of the batch, on {hardware(report['machine'])}, {report['date']}; medians of "
        "interleaved turns (`python benchmarks/training_processes.py`):"
    )
    header = ["batch", "processes", "threads of each", "step", "faster by"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def training_memory() -> str:
    """docs/training.md: memory of a training whose structures stay on disk."""
    report = read("training_memory")
    return paragraph(
        f"An epoch on {report['structures']:,} small molecules ({report['atoms']:,} atoms), conversion and checks "
        f"included, takes at most {report['largest_mib'] / 1024:.1f} GiB of memory, mapped files included "
        f"({hardware(report['machine'])}; `python benchmarks/training_memory.py`)."
    )


def conformers() -> str:
    """docs/recipes/conformers.md: a thousand conformers by the command, and by a loop of ASE's LBFGS."""
    report = read("conformers")
    settings, ours, ase = report["settings"], report["so3md relax --all"], report["ase"]
    return paragraph(
        f"{settings['conformers']} conformers of ibuprofen ({settings['atoms']} atoms) take "
        f"{ours['cpu_seconds'] / 60:.1f} minutes of one core, {1e3 * ours['cpu_seconds_per_conformer']:.0f} ms and "
        f"{ours['mean_steps']:.0f} steps each; ASE's LBFGS takes {1e3 * ase['cpu_seconds_per_conformer']:.0f} ms and "
        f"{ase['mean_steps']:.0f} steps (every {settings['conformers'] // ase['conformers']}th of them), "
        f"**{report['times_faster']:.1f}** times as long. CPU seconds, until no force is above "
        f"{settings['fmax_eV_per_A']:g} eV/Å, on {hardware(report['machine'])}; `python benchmarks/conformers.py`."
    )


def installation() -> str:
    """docs/installation.md: the README's command."""
    report = read("install_time")
    compiler, *_, version = report["compiler"].split()
    return paragraph(
        f"`pip install .` takes {report['wall_s']:.0f} s on {hardware(report['machine'])}, of which the build "
        f"{report['build_s']:.0f} s; the rest are the environment, the tools of the build and the dependencies. All "
        f"together it is {report['cpu_s']:.0f} s of processor time ({compiler} {version}; "
        "`python benchmarks/install_time.py`)."
    )


#: Those that pages have.
FIGURES = (
    comparison_in_short,
    comparison,
    limit,
    sizes,
    work,
    processes_in_short,
    processes,
    compilers,
    instruction_sets,
    kept_filters,
    generations,
    energy_first,
    nonlocal_before,
    conformers,
    training_step,
    training_processes,
    training_memory,
    installation,
)

"""Measuring how fast a model runs on this machine, and how far that is from what the machine could do.

`so3md bench` is the front; scripts in benchmarks/ use the same parts.

- `work`: the floating-point operations of a step, counted from the hyperparameters of a model
- `machine`: the machine, and the rate of a large matrix product on it
- `systems`: structures, and how their atoms move
- `cases`: one measurement, in a process of its own (`worker`), and figures that several give together
"""

"""Training of So3krates force fields in PyTorch: `so3md train` and `so3md finetune` (docs/training.md).

The trained model leaves as a model file, which the engine runs; nothing outside this package needs PyTorch for that.
"""

from so3md.pytorch import torch  # noqa: F401

"""Training of So3krates force fields in PyTorch: `so3md train` and `so3md finetune` (docs/training.md).

The trained model leaves as a model file, which the engine runs; nothing outside this package needs PyTorch for that.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("training needs PyTorch: pip install 'so3md[torch]'") from error

"""Reading the zip archives of torch.save: a pickle of modules and the numbers of their tensors, without torch."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.convert.pickle_reader import Global, Stub, read_pickle
from so3md.convert.pickled_arrays import checked_shape

MAX_TOTAL_BYTES = 1 << 30
MAX_PICKLE_BYTES = 1 << 26
MAX_MODULES = 10_000

_STORAGES: dict[str, np.dtype] = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.BoolStorage": np.dtype("?"),
}


@dataclass
class Module(Stub):
    """A pickled torch.nn.Module: the name of its class and its attributes."""

    class_name: str
    attributes: dict[str, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ConversionError(f"a module of the class {self.class_name} has a state that is not a dictionary")
        self.attributes = state

    def children(self) -> dict[str, Module]:
        found = self.attributes.get("_modules", {})
        if not isinstance(found, dict) or not all(isinstance(child, Module | None) for child in found.values()):
            raise ConversionError(f"the submodules of a {self.class_name} are not modules")
        return {name: child for name, child in found.items() if child is not None}

    def __getitem__(self, path: str) -> Module:
        """The submodule at a dotted path."""
        module = self
        for name in path.split("."):
            children = module.children()
            if name not in children:
                raise ConversionError(f"the model has no module {path}")
            module = children[name]
        return module


def read_archive(data: zipfile.ZipFile, modules: frozenset[str], refused: Mapping[str, str]) -> Module:
    """The module that was saved. modules: names of the classes that may occur, besides those of torch itself."""
    root = _read_root(data, {name: _module_maker(name) for name in modules}, refused)
    if not isinstance(root, Module):
        raise ConversionError(
            "the file does not hold a whole model (torch.save(model, path)); "
            "bare weights (a state_dict) lack the hyperparameters: save the whole model, or give the weights the "
            "suffix .pt and put their settings beside them (<stem>_settings.yaml)"
        )
    return root


def read_weights(data: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The tensors of a state_dict by their names."""
    root = _read_root(data, {}, {})
    if not isinstance(root, _StateDict):
        raise ConversionError("the file does not hold weights (a state_dict); a whole model has the suffix .model")
    return {str(name): _tensor_values(value, str(name)) for name, value in root.items()}


def _read_root(data: zipfile.ZipFile, modules: Mapping[str, Callable[..., Any]], refused: Mapping[str, str]) -> Any:
    pickle, numbers = _open(data)

    def load_storage(reference: Any) -> _Storage:
        if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] != "storage":
            raise ConversionError("the archive refers to something that is not the storage of a tensor")
        _, kind, key, _, _ = reference
        if not isinstance(kind, Global) or kind.name not in _STORAGES or not isinstance(key, str):
            raise ConversionError(f"a tensor has a type that is not known: {getattr(kind, 'name', kind)}")
        return _Storage(np.frombuffer(numbers(key), _STORAGES[kind.name]))

    return read_pickle(pickle, _torch_globals() | dict(modules), refused, load_storage)


def collect_tensors(root: Module) -> dict[str, np.ndarray]:
    """All parameters and buffers by dotted path. A module that occurs twice is met once, at its first place."""
    tensors: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    todo = [("", root)]
    while todo:
        prefix, module = todo.pop(0)
        if id(module) in seen:
            continue
        seen.add(id(module))
        if len(seen) > MAX_MODULES:
            raise ConversionError(f"the file holds more than {MAX_MODULES} modules: not a model")
        for kind in ("_parameters", "_buffers"):
            for name, value in module.attributes.get(kind, {}).items():
                if value is not None:
                    tensors[f"{prefix}{name}"] = _tensor_values(value, f"{prefix}{name}")
        todo += [(f"{prefix}{name}.", child) for name, child in module.children().items()]
    return tensors


class _StateDict(dict[Any, Any], Stub):
    """An OrderedDict; that of a state_dict has an attribute with versions of its modules, which change nothing."""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict) or list(state) != ["_metadata"]:
            raise ConversionError("a dictionary with a state that is not known")


@dataclass
class _Storage:
    values: np.ndarray


@dataclass
class _Tensor(Stub):
    values: np.ndarray


def _tensor_values(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, _Tensor):
        raise ConversionError(f"{name} is not a tensor")
    return value.values


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """A view of the storage; checks that it lies inside."""
    shape = checked_shape(shape)
    strides = checked_shape(strides)
    if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or len(strides) != len(shape):
        raise ConversionError("a tensor in a form that is not known")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.values.size or (math.prod(shape) and last >= storage.values.size):
        raise ConversionError("a tensor reaches beyond its storage: the file is truncated or altered")
    size = storage.values.itemsize
    values = np.lib.stride_tricks.as_strided(
        storage.values[offset:], shape, [stride * size for stride in strides], writeable=False
    )
    return _Tensor(values)


def _rebuild_parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise ConversionError("a parameter that is not a tensor")
    return tensor


def _module_maker(name: str) -> Callable[..., Module]:
    return lambda *_: Module(name)


def _inert(name: str) -> Callable[..., str]:
    return lambda *_: name


def _torch_globals() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch.nn.parameter.Parameter": _rebuild_parameter,
        "collections.OrderedDict": lambda *_: _StateDict(),
        "builtins.set": lambda *_: set(),
        "torch.device": _inert("torch.device"),
        "torch.Size": lambda *sizes: tuple(sizes[0]) if sizes else (),
    }
    found |= {name: _inert(name) for name in _STORAGES}
    found |= {f"torch.{name}": _inert(name) for name in ("float32", "float64", "int64")}
    layers = {
        "activation": ("SiLU", "ReLU", "GELU", "Tanh"),
        "container": ("ModuleList", "ModuleDict", "Sequential", "ParameterList"),
        "linear": ("Identity", "Linear"),
        "normalization": ("LayerNorm",),
        "sparse": ("Embedding",),
    }
    names = [f"torch.nn.modules.{file}.{name}" for file, classes in layers.items() for name in classes]
    return found | {name: _module_maker(name) for name in names}


def _open(archive: zipfile.ZipFile) -> tuple[bytes, Callable[[str], bytes]]:
    """The pickle of an archive and a function that reads the numbers of a storage."""
    names = archive.namelist()
    if sum(info.file_size for info in archive.infolist()) > MAX_TOTAL_BYTES:
        raise ConversionError(f"the archive holds more than {MAX_TOTAL_BYTES >> 20} MiB, too much for a model")
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ConversionError("the zip archive was not written by torch.save: it has no data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in names:
        raise ConversionError(
            "the file is a TorchScript archive; only models saved by torch.save(model, path) are read"
        )

    def read(name: str) -> bytes:
        try:
            return archive.read(prefix + name)
        except KeyError as error:
            raise ConversionError(f"the archive lacks {prefix}{name}: it is truncated or altered") from error
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise ConversionError(f"{prefix}{name} cannot be read from the archive: {error}") from error

    if f"{prefix}byteorder" in names and read("byteorder") != b"little":
        raise ConversionError("the tensors are stored in big-endian byte order, which is not supported")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        raise ConversionError(f"the pickle in the archive is larger than {MAX_PICKLE_BYTES >> 20} MiB: not a model")
    return read("data.pkl"), lambda key: read(f"data/{key}")

"""A second device where there is none: tensors that refuse what tensors of a GPU refuse.

Inside `lent()` what asks for the device "cuda" gets an `OnDevice`: the numbers of a CPU tensor with a GPU's
manners. It has no ``.numpy()``, numpy cannot read it, and it meets no plain tensor of one or more
dimensions; what comes of it is of its kind, and ``.cpu()`` or ``.to("cpu")`` makes it plain.
"""

import contextlib
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
T = torch.Tensor
HOST = {T.numpy, T.__array__, torch.from_numpy, T.data_ptr, T.untyped_storage, T.storage}
INDEXING = {T.__getitem__, T.__setitem__}
MIXED = {*INDEXING, T.copy_, torch._has_compatible_shallow_copy_type}
"""Functions that take plain indices, or copy from one device to another."""


class OnDevice(torch.Tensor):
    """A tensor on the lent device."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {})


class Lent(TorchFunctionMode):
    """What asks for the device gets it, and factories and plain tensors, too, go through `_call`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {})


def plain(value):
    """The same without the device."""
    return tree_map(lambda v: v.as_subclass(torch.Tensor) if isinstance(v, OnDevice) else v, value)


def put(value):
    """The same on the device."""

    def one(v):
        if not isinstance(v, torch.Tensor) or isinstance(v, OnDevice):
            return v
        return (v.detach() if isinstance(v, torch.nn.Parameter) else v).as_subclass(OnDevice)

    return tree_map(one, value)


def asks(args, kwargs):
    """The device that a call names: the lent one, the CPU, or None."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            continue
        if isinstance(value, torch.device) or (
            isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda")
        ):
            return torch.device(value)
    return None


def _call(function, args, kwargs):
    with torch._C.DisableTorchFunction():
        name = getattr(function, "__name__", "")
        flat, _ = tree_flatten((args, kwargs))
        here = [v for v in flat if isinstance(v, OnDevice)]
        away = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, OnDevice) and v.ndim]
        if function is T.numpy and kwargs.get("force"):
            return function(*plain(args), **kwargs)
        if here and function in HOST:
            raise TypeError(f"can't convert cuda:0 device type tensor to numpy ({name})")
        if function == T.device.__get__:
            return DEVICE if here else function(*args, **kwargs)
        if function == T.is_cuda.__get__:
            return bool(here)
        if name in ("__set__", "_parse_to"):
            return function(*args, **kwargs)
        if function in (T.to, T.type_as, T.new_tensor):
            other = next((v for v in flat[1:] if isinstance(v, torch.Tensor)), None)
            device = asks(args[1:], kwargs)
            there = (
                device.type == "cuda"
                if device
                else isinstance(other if other is not None else args[0], OnDevice)
            )
            done = function(*_cpu(plain(args)), **_cpu(plain(kwargs)))
            return put(done) if there else done
        if function is T.cpu:
            return plain(args[0])
        if function is T.cuda:
            return put(args[0])
        if function in INDEXING:
            index, value = tree_flatten(args[1])[0], [v for v in args[2:] if isinstance(v, T) and v.ndim]
            beside = [isinstance(v, OnDevice) != isinstance(args[0], OnDevice) for v in value]
            if (
                any(beside)
                or not isinstance(args[0], OnDevice)
                and any(isinstance(v, OnDevice) for v in index)
            ):
                raise RuntimeError(
                    f"indices should be on cpu or on the same device as the indexed tensor ({name})"
                )
        if here and away and function not in MIXED:
            shapes = [tuple(v.shape) for v in away]
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {name} got cuda:0 and cpu {shapes}"
            )
        device = asks((), kwargs)
        done = function(*args, **_cpu(kwargs))
        if device is not None:
            return put(done) if device.type == "cuda" else plain(done)
        if function in MIXED and not isinstance(args[0], OnDevice):
            return plain(done)
        return put(done) if here else done


def _cpu(value):
    one = lambda v: (
        torch.device("cpu")
        if isinstance(v, torch.device) and v.type == "cuda"
        else "cpu"
        if isinstance(v, str) and v.split(":")[0] == "cuda"
        else v
    )
    return tree_map(one, value)


@contextlib.contextmanager
def lent():
    """A machine with the device."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        of_it = mock.Mock(total_memory=80 << 30)
        with (
            mock.patch.object(torch.cuda, "is_available", lambda: True),
            mock.patch.object(torch.cuda, "get_device_properties", lambda device: of_it),
            Lent(),
        ):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)

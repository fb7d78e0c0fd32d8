"""Pickles of PyTorch's files, read without running code from them: tensors come out as claims, checked, then made."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptkd.bounded import shown

LONGEST = 2**23  # bytes of a pickle, without its tensors
_INSTRUCTIONS = 1_000_000
_VALUES = 2_000_000  # values once what is shared is written out
_DEPTH = 60
_KINDS = 10_000  # of objects
_REFUSED = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip


class _Fixed:
    """What a pickle cannot change once it is built."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a pickle that changes what it is read with")


@dataclass(frozen=True)
class Storage(_Fixed):
    """A claim: `numel` numbers of a type, under a key of the file."""

    dtype: torch.dtype
    key: str
    numel: int

    @property
    def bytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Claim(_Fixed):
    """A tensor as the file describes it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        number = 1
        for one in self.size:
            number *= one
        return number

    def check(self) -> None:
        """Raises ValueError where it is not inside its storage, or has more elements than that."""
        numbers = (self.offset, *self.size, *self.stride)
        if not all(isinstance(one, int) and 0 <= one < 2**62 for one in numbers) or len(self.size) != len(self.stride):
            raise ValueError(f"a tensor of size {shown(self.size)}, strides {shown(self.stride)}")
        if len(self.size) > 16:
            raise ValueError(f"a tensor of {len(self.size)} dimensions")
        held = self.storage.bytes // self.dtype.itemsize
        last = self.offset + sum((one - 1) * step for one, step in zip(self.size, self.stride, strict=True))
        if self.numel and (last >= held or self.numel > held):
            raise ValueError(
                f"a tensor of size {shown(self.size)}, strides {shown(self.stride)} from {self.offset} on, "
                f"in a storage of {held} elements"
            )


class Thing:
    """Stands for any object of a file that is no tensor: it keeps its state, and does nothing."""

    kind = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def _nothing(self, *args: Any, **kwargs: Any) -> Thing:
        return self

    # How a pickle fills objects, dictionaries (an optimiser's state is a defaultdict), lists and sets.
    __call__ = __setitem__ = append = extend = add = _nothing


@dataclass(frozen=True)
class _StorageKind(_Fixed):
    dtype: torch.dtype


@dataclass(frozen=True)
class _Part(_Fixed):
    """A function that a pickle may call."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Claim:
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise ValueError(f"a tensor of {shown(storage)}, size {shown(size)}, strides {shown(stride)}")
    claim = Claim(storage, offset, size, stride, storage.dtype)
    claim.check()
    return claim


def _tensor_of_bytes(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any) -> Claim:
    if not isinstance(dtype, torch.dtype) or not isinstance(storage, Storage):
        raise ValueError(f"a tensor of {shown(dtype)} in {shown(storage)}")
    claim = Claim(storage, offset, size, stride, dtype)
    claim.check()
    return claim


def _first(value: Any, *rest: Any) -> Any:
    return value


def _of_subclass(make: Any, kind: Any, arguments: Any, state: Any) -> Any:
    if not isinstance(make, _Part) or make.function not in (_tensor, _tensor_of_bytes):
        raise ValueError("a tensor of a kind that is not read")
    return make(*arguments)


_PARTS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch.storage", "TypedStorage"): _StorageKind(torch.uint8),
    ("torch.storage", "UntypedStorage"): _StorageKind(torch.uint8),
    ("torch._utils", "_rebuild_tensor"): _Part(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Part(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Part(_tensor_of_bytes),
    ("torch._utils", "_rebuild_parameter"): _Part(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): _Part(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): _Part(_of_subclass),
    **{("torch.jit._pickle", f"build_{kind}list"): _Part(_first) for kind in ("int", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): _Part(_first),
    **{("torch", name): _StorageKind(dtype) for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Builds claims and plain containers; every class of the file but those of tensors becomes a `Thing`."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self.things: dict[str, type[Thing]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PARTS:
            return _PARTS[module, name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        kind = f"{module}.{name}"
        if kind not in self.things:
            if len(self.things) == _KINDS:
                raise ValueError(f"objects of more than {_KINDS:,} kinds")
            self.things[kind] = type("Thing", (Thing,), {"kind": kind})
        return self.things[kind]

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise ValueError(f"a storage {shown(pid)}")
        _, kind, key, _, numel, *view = pid
        good = isinstance(kind, _StorageKind) and isinstance(key, str) and type(numel) is int and 0 <= numel < 2**62
        if not good or any(one is not None for one in view):
            raise ValueError(f"a storage {shown(pid)}")
        return self.storages.setdefault(key, Storage(kind.dtype, key, numel))


class Unpickled(NamedTuple):
    """The value of a pickle, with `Claim`s and `Thing`s in it; the position after it; the storages that it names."""

    value: Any
    end: int
    storages: dict[str, Storage]


def unpickle(data: bytes, start: int = 0) -> Unpickled:
    """Reads the pickle that begins at a position, without running code from it.

    Raises:
        ValueError: it is cut off or too long, or has an instruction of no file of PyTorch's.
        pickle.UnpicklingError, and whatever else a damaged pickle raises.
    """
    stream = io.BytesIO(data)
    stream.seek(start)
    count, end = 0, start
    # First a look at every instruction: what it claims is compared with the bytes that there are, and a position in
    # the memo with the number of instructions, since Python's unpickler takes the memory that either asks for.
    for operation, argument, position in pickletools.genops(stream):
        count += 1
        end = position + 1 if position is not None else start
        if count > _INSTRUCTIONS or end - start > LONGEST:
            raise ValueError(f"a pickle of more than {_INSTRUCTIONS:,} instructions")
        if operation.name in _REFUSED or (operation.name == "FRAME" and (argument or 0) > len(data) - end):
            raise ValueError(f"a pickle with the instruction {operation.name}")
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > count + 255:
            raise ValueError(f"a pickle with {argument} values after {count:,} instructions")
    reader = _Unpickler(data[start:end])
    return Unpickled(reader.load(), end, reader.storages)


@dataclass
class Contents:
    """Turns a value with claims into one with tensors.

    Args:
        held: key -> number of bytes under it in the file; raises KeyError for none.
        load: the numbers of a storage, (numel,).
    """

    held: Callable[[Storage], int]
    load: Callable[[Storage], Tensor]
    _tensors: dict[int, Tensor] = field(default_factory=dict)
    _storages: dict[str, Tensor] = field(default_factory=dict)

    def make(self, value: Any) -> Any:
        """The value with tensors in the place of claims, and None in the place of things.

        Raises:
            ValueError: the claims are more than the file holds, or it is nested too deep.
        """
        self._check_claims(value)
        return self._made(value, {}, 0)[0]

    def _check_claims(self, value: Any) -> None:
        """Compares all storages and tensors of a value with what the file holds."""
        claims, waiting, seen = [], [value], set[int]()
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, Claim):
                claims.append(one)
            elif isinstance(one, dict):
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, (list, tuple)):
                waiting += one
        storages: dict[str, Storage] = {}
        for claim in claims:
            storage = storages.setdefault(claim.storage.key, claim.storage)
            if storage != claim.storage:
                raise ValueError(f"the storage {shown(storage.key)} has two types")
        for storage in storages.values():
            if (held := self.held(storage)) != storage.bytes:
                raise ValueError(f"the storage {shown(storage.key)} of {storage.bytes:,} bytes has {held:,} there")
        # Many tensors may be views of one storage, but whoever copies each of them must not need far more than that.
        claimed, there = sum(claim.numel for claim in claims), sum(one.bytes for one in storages.values())
        if claimed > 4 * there + 1_000_000:
            raise ValueError(f"tensors of {claimed:,} elements in {there:,} bytes")

    def _made(self, value: Any, made: dict[int, tuple[Any, int]], depth: int) -> tuple[Any, int]:
        """The value, and the number of values in it once what is shared is written out."""
        if depth > _DEPTH:
            raise ValueError(f"values nested deeper than {_DEPTH}")
        if id(value) in made:
            return made[id(value)]
        if isinstance(value, Claim):
            result: Any = self._tensor(value)
            size = 1
        elif isinstance(value, (dict, list, tuple)):
            made[id(value)] = None, 1  # in itself: None
            if isinstance(value, dict):
                parts = [self._made(one, made, depth + 1) for pair in value.items() for one in pair]
                result = {one: other for (one, _), (other, _) in zip(parts[::2], parts[1::2], strict=True)}
            else:
                parts = [self._made(one, made, depth + 1) for one in value]
                result = (list if isinstance(value, list) else tuple)(one for one, _ in parts)
            size = 1 + sum(number for _, number in parts)
        else:
            plain = value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype))
            if isinstance(value, int) and value.bit_length() > 128:
                raise ValueError("a number of more than 128 bits")
            return (value if plain else None), 1
        if size > _VALUES:
            raise ValueError(f"more than {_VALUES:,} values")
        made[id(value)] = result, size
        return result, size

    def _tensor(self, claim: Claim) -> Tensor:
        if claim.storage.key not in self._storages:
            self._storages[claim.storage.key] = self.load(claim.storage)
        numbers = self._storages[claim.storage.key]
        if claim.dtype != numbers.dtype:
            numbers = numbers.view(claim.dtype)
        return numbers.as_strided(claim.size, claim.stride, claim.offset)


def numbers_of(data: bytes, storage: Storage) -> Tensor:
    """The numbers of a storage from its bytes: (numel,)."""
    if not data:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(storage.dtype)

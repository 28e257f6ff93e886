"""Compiled functions: numba's decorators with this project's settings, types kept; and helpers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import event, types
from numba.extending import intrinsic

from asr.lm.code_cache import keep_code
from asr.lm.inner_code import InnerCompiler

int64: Any = numba.int64
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

# In compiled code give functions int64(0), not 0: for a constant they are compiled once more.
# Nothing but Python and other compiled functions calls them, so no entry for C is compiled.
SETTINGS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}

PACKAGES = ("lm", "decoding")
"""Packages of this one that have compiled functions."""


def _digest() -> str:
    """Of all files that compiled functions are in."""
    digest = sha256()
    for name in PACKAGES:
        for path in sorted((Path(__file__).parents[1] / name).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


SOURCES = _digest()


class _Notice(event.Listener):  # type: ignore[misc]
    """Tells people at a terminal what they wait for: once, and not where the code is on disk."""

    def __init__(self) -> None:
        self._is_said = False

    def on_start(self, compiling: Any) -> None:
        module = compiling.data["dispatcher"].py_func.__module__
        ours = tuple(f"{__package__.partition('.')[0]}.{name}." for name in PACKAGES)
        if self._is_said or not module.startswith(ours):
            return
        self._is_said = True
        # Whatever stands there for the terminal, or nothing: a notice must not cost a result.
        with suppress(AttributeError, OSError, ValueError):
            if sys.stderr.isatty():
                sys.stderr.write(
                    "compiling at first use, up to half a minute; later uses are fast\n"
                )

    def on_end(self, compiling: Any) -> None:
        pass


event.register("numba:compile", _Notice())


def _compile(function: FunctionT, **options: Any) -> FunctionT:
    """Compile at the first call, and keep the machine code as long as no source changes.

    Compiled functions that call it get an inner function of the same body, so that what Python
    never calls itself is not compiled for it.
    """
    dispatcher = _dispatcher(function, **options)
    if dispatcher is not function:  # as it is with NUMBA_DISABLE_JIT
        callee = _compile_inner(function, **options)
        dispatcher.get_call_template = callee.get_call_template
        dispatcher.get_overload = callee.get_overload
    return cast(FunctionT, dispatcher)


def _compile_inner(function: FunctionT, **options: Any) -> Any:
    """Compile for compiled functions alone, under a name of its own: files on disk go by it."""
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    copy.__qualname__ = f"inner_{function.__name__}"
    return _dispatcher(copy, pipeline_class=InnerCompiler, **options)


def _dispatcher(function: Callable[..., object], **options: Any) -> Any:
    """Numba's, with a stamp of all sources.

    Numba looks at the file of the function itself alone. It holds the code of the functions called
    as well, and so, after an update that changed only theirs, the old code would go on, and where
    tuples had other fields then, destroy memory.
    """
    dispatcher = numba.njit(**SETTINGS | options)(function)
    if dispatcher is not function:
        keep_code(dispatcher, SOURCES)
    return dispatcher


def compiled(function: FunctionT) -> FunctionT:
    """Compile a numeric function at its first call; kept on disk, and the GIL is released."""
    return _compile(function)


def kernel(function: FunctionT) -> FunctionT:
    """As `compiled`, for a function that makes no array and calls only kernels.

    It works on arrays its caller owns, so numba need not count who refers to them. That counting,
    an atomic operation for each array of each tuple at each call, was 60 % of the beam search.
    """
    return _compile(function, _nrt=False)


def woven(function: FunctionT) -> FunctionT:
    """As `kernel`, for a small function whose machine code is to stand in that of its callers.

    A call passes every field of every array of every tuple among its arguments, some hundreds for
    all that a beam search knows: that was two thirds of the time of a wide beam.
    """
    return _compile(function, _nrt=False, forceinline=True)


def called(function: FunctionT) -> FunctionT:
    """As `kernel`, for a function that is over before another thread could use the GIL.

    Only Python calls it, and it calls kernels only.
    """
    return _compile(function, nogil=False, _nrt=False)


def direct(function: Callable[..., Any], *examples: object) -> Callable[..., Any]:
    """A compiled function for arguments of the types of these, which it does not check.

    numba asks every argument for its type at every call, of a tuple all the fields: 0.3 µs for a
    number, 10 for all that a beam search knows.

    Numbers are converted; any other argument must be of its example's type, and arrays of its
    number of dimensions and layout too.
    """
    entry: Callable[..., Any] = function.compile(tuple(map(numba.typeof, examples)))  # type: ignore[attr-defined]
    return entry


@kernel
def lower_bound(values: npt.NDArray[Any], begin: int, end: int, value: int) -> int:
    """In compiled code: the first place from `begin` on where `values` is not less than `value`.

    Args:
        values: One-dimensional, rising from `begin` to `end`; not looked at elsewhere.
        begin, end: A range of its places, which may be empty.
        value: What to look for.

    Returns:
        The place; `end` where every value is less.
    """
    low, high = int64(begin), int64(end)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    place: int = low
    return place


def _prefetch(_context: Any, array: Any, index: Any) -> Any:
    """In compiled code: fetch the line of an array's item into the cache, and do not wait for it.

    Arguments are an array and an index, which is not checked: an address that is not the program's
    is ignored by the processor. Only speed depends on it (LLVM's `llvm.prefetch`).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        item = builder.gep(view.data, [arguments[1]])
        address = builder.bitcast(item, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (address.type,), kind)
        # For reading, to be kept in all caches, of data.
        builder.call(fetch, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch: Any = intrinsic(_prefetch)

"""Elementary functions written so that the compiler can run them on whole vector registers.

The single-precision forms are polynomials (Cephes-class, relative error below 2e-7); the double-precision forms are the
library's, because double precision is asked for when digits matter more than time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numba import njit, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic, overload, register_jitable

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything but the assumption that NaN and infinity never occur.
VECTOR = {"contract", "reassoc", "nsz", "arcp"}

F = TypeVar("F", bound="Callable[..., Any]")


def kernel(function: F) -> F:
    """Compile at the first call, keep the result on disk, release the interpreter's lock while running."""
    try:
        return cast("F", njit(fastmath=VECTOR, error_model="numpy", cache=True, nogil=True)(function))
    except RuntimeError:  # nowhere to keep it: neither beside the package, nor at NUMBA_CACHE_DIR, nor at home
        return cast("F", njit(fastmath=VECTOR, error_model="numpy", nogil=True)(function))


class _Apart(CompilerBase):
    """Compiles a function whose arrays do not overlap where one of them is written."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]  # type: ignore[no-untyped-call]


def row_kernel(function: F) -> F:
    """Compile a loop over vectors that do not overlap where one of them is written, to be called by a kernel.

    Without that promise the compiler guards loops over many vectors against overlap, or leaves them scalar.
    Vectors that are only read may overlap. It is kept on disk as part of the kernel that calls it.
    """
    return cast("F", njit(fastmath=VECTOR, error_model="numpy", pipeline_class=_Apart)(function))


def inlined(function: F) -> F:
    """Compile into the kernel that calls it."""
    return cast("F", njit(fastmath=VECTOR, error_model="numpy", inline="always")(function))


@intrinsic
def _float_of_bits_typed(_context: Any, _bits: Any) -> Any:
    """Reinterpret 32 bits as a float."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@intrinsic
def _bits_of_float_typed(_context: Any, _value: Any) -> Any:
    """Reinterpret a float as 32 bits."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


# Called from compiled code with one argument; the typing context comes from the compiler.
_float_of_bits: Any = _float_of_bits_typed
_bits_of_float: Any = _bits_of_float_typed


@register_jitable(inline="always")
def _exp_single(x: Any) -> Any:
    """e^x = 2^k e^f with |f| <= ln2/2."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    k = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = x - k * np.float32(0.693359375)
    f = f + k * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    p = p * f * f + f + np.float32(1.0)
    return p * _float_of_bits((np.int32(k) + np.int32(127)) << np.int32(23))


@register_jitable(inline="always")
def _log_single(x: Any) -> Any:
    """Logarithm: k ln2 + ln m with sqrt(1/2) <= m < sqrt(2); x > 0 and normal."""
    bits = _bits_of_float(x) - np.int32(0x3F3504F3)
    k = np.float32(bits >> np.int32(23))
    m = _float_of_bits((bits & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3)) - np.float32(1.0)
    p = np.float32(7.0376836292e-2)
    p = p * m - np.float32(1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m - np.float32(1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m - np.float32(1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m - np.float32(2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    square = m * m
    y = p * m * square - np.float32(2.12194440e-4) * k - np.float32(0.5) * square
    return m + y + np.float32(0.693359375) * k


def fast_exp(x: float) -> float:
    """e^x in the precision of x."""
    return math.exp(x)


def fast_log(x: float) -> float:
    """Natural logarithm of a positive normal number in the precision of x."""
    return math.log(x)


@overload(fast_exp, inline="always", strict=False)
def _overload_exp(x: Any) -> Any:
    if x == types.float32:
        return _exp_single
    return lambda x: math.exp(x)  # noqa: PLW0108  the overload needs a Python function


@overload(fast_log, inline="always", strict=False)
def _overload_log(x: Any) -> Any:
    if x == types.float32:
        return _log_single
    return lambda x: math.log(x)  # noqa: PLW0108  same


@kernel
def exp_of(x: Any, out: Any) -> None:
    """Write e^x of a vector; what the tests look at."""
    for i in range(x.size):
        out[i] = fast_exp(x[i])


@kernel
def log_of(x: Any, out: Any) -> None:
    """Write ln x of a vector; what the tests look at."""
    for i in range(x.size):
        out[i] = fast_log(x[i])

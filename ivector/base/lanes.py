"""Vectors of float32 for Numba kernels: one number of each of `LANES` frames, handled as one value.

A feature kernel does the same arithmetic on every frame. With the frames of a block side by side
(one lane each), every step of it, the Fourier transform and its reordering included, is plain
vector arithmetic without shuffles. LLVM cannot prove that in-place butterflies on an array do
not overlap, and so leaves such loops scalar; a value of vector type needs no such proof. LLVM
splits it over as many registers as the processor needs (AVX-512: 1, AVX2: 2, NEON and SSE: 4).

Inside a kernel, with ``x`` a one-dimensional contiguous float32 array::

    a = load(x, i)          # x[i : i + LANES]
    b = splat(w[k])         # the same number in every lane
    c = spread(x, i)        # splat(x[i]) for an index that is not negative
    store(x, i, a * b + a)  # + - * / as usual; a * b + c may be fused

Indices are neither checked nor wrapped. These work in nopython mode only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, models, register_model

LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
# Arrays may start anywhere; on an aligned one the unaligned instructions cost nothing extra.
_ALIGN = 4


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's `intrinsic`, hidden from type checkers, as calls leave its first argument out."""
    return numba_intrinsic(function)


class LanesType(types.Type):
    """Numba's type of such a vector."""

    def __init__(self):
        super().__init__(name=f"lanes{LANES}f32")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, _VECTOR)


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(cgutils.gep(builder, data, index), _VECTOR.as_pointer())


def _splat(builder, scalar):
    single = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), zeros)


@intrinsic
def load(typingctx, array, index):
    """``x[i : i + LANES]`` as a vector."""

    def codegen(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args)
        return builder.load(pointer, align=_ALIGN)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector to ``x[i : i + LANES]``."""

    def codegen(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args[:2])
        builder.store(args[2], pointer, align=_ALIGN)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def splat(typingctx, scalar):
    """Vector with the same number in every lane."""

    def codegen(context, builder, sig, args):
        return _splat(builder, args[0])

    return lanes(types.float32), codegen


@intrinsic
def spread(typingctx, array, index):
    """Vector with ``x[index]`` in every lane; as in `load`, a negative index is not wrapped.

    (Looking for one would take as long as the product.)
    """

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _splat(builder, builder.load(cgutils.gep(builder, data, args[1])))

    return lanes(array, types.intp), codegen


@intrinsic
def sqrt(typingctx, value):
    """Square root of every lane."""

    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{LANES}f32"
        )
        return builder.call(function, args)

    return lanes(lanes), codegen


@intrinsic
def maximum(typingctx, first, second):
    """The larger number, lane by lane (the second where the first is NaN)."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return lanes(lanes, lanes), codegen


def _binary_exponent(builder, value):
    """Integer e with value · 2^−e in [√½, √2), for positive normal numbers."""
    integers = ir.VectorType(ir.IntType(32), LANES)
    bits = builder.bitcast(value, integers)
    root_half = ir.Constant(integers, [0x3F3504F3] * LANES)
    width = ir.Constant(integers, [23] * LANES)
    shifted = builder.ashr(builder.sub(bits, root_half), width)
    return shifted, builder.sub(bits, builder.shl(shifted, width))


@intrinsic
def exponent(typingctx, value):
    """Whole number e, as a float, that brings ``value · 2^−e`` into [√½, √2); value > 0."""

    def codegen(context, builder, sig, args):
        return builder.sitofp(_binary_exponent(builder, args[0])[0], _VECTOR)

    return lanes(lanes), codegen


@intrinsic
def mantissa(typingctx, value):
    """``value · 2^−e`` with `exponent`'s e, in [√½, √2); value > 0."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(_binary_exponent(builder, args[0])[1], _VECTOR)

    return lanes(lanes), codegen


def _define(instruction, *operators):
    def lower(context, builder, sig, args):
        # "contract" alone: a product and a sum may become one fused operation.
        return getattr(builder, instruction)(*args, flags=("contract",))

    for op in operators:
        template = type("_Typing", (ConcreteTemplate,), {"cases": [signature(lanes, lanes, lanes)]})
        infer_global(op)(template)
        lower_builtin(op, lanes, lanes)(lower)


_define("fadd", operator.add, operator.iadd)
_define("fsub", operator.sub, operator.isub)
_define("fmul", operator.mul, operator.imul)
_define("fdiv", operator.truediv, operator.itruediv)

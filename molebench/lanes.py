"""Instructions written by hand, for loops whose vectors a compiler would not find: sixteen float32 at once.

A function of Values runs once, when compiled code first asks for it, and leaves an instruction for each operation. LLVM
makes of sixteen lanes what the processor has: one register of 512 bits, two of 256, four of 128. What such a function
does with + - * it does with numbers and arrays too, where it can be tested. x[i] stands for the float32 of index i from
an address x on: nobody asks whether it is there.

Reference: https://llvmlite.readthedocs.io/en/latest/user-guide/ir/ir-builder.html and Numba's `intrinsic`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature, unwrap
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
FLOAT, WHOLE = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
SIZE = 4  # bytes of a float, which is all that a vector is aligned to


@dataclass(frozen=True, eq=False)
class Value:
    """Sixteen float32, or a whole number of 64 bits, in code that is being written."""

    code: Any
    value: Any

    def joined(self, operation: str, other: Any, turned: bool = False) -> "Value":
        """One instruction on this and another, which may be a number known now."""
        vector = self.value.type == VECTOR
        known = other if isinstance(other, Value) else number(self, other, self.value.type)
        pair = (self.value, known.value)
        flags = {"flags": ("contract",)} if vector else {}
        made = getattr(self.code, "f" * vector + operation)(*reversed(pair) if turned else pair, **flags)
        return Value(self.code, made)

    def __add__(self, other: Any) -> "Value":
        return self.joined("add", other)

    def __sub__(self, other: Any) -> "Value":
        return self.joined("sub", other)

    def __mul__(self, other: Any) -> "Value":
        return self.joined("mul", other)

    def __radd__(self, other: Any) -> "Value":
        return self.joined("add", other, turned=True)

    def __rsub__(self, other: Any) -> "Value":
        return self.joined("sub", other, turned=True)

    def __rmul__(self, other: Any) -> "Value":
        return self.joined("mul", other, turned=True)


def number(of: Value, known: int | float, kind: Any = VECTOR) -> Value:
    """A number that is known now, in sixteen lanes or whole, in the code of another value."""
    return Value(of.code, ir.Constant(kind, [float(known)] * LANES if kind == VECTOR else known))


def pointer(x: Value, i: Any, kind: Any) -> Any:
    """To x[i]."""
    return x.code.inttoptr((x + i * SIZE).value, kind.as_pointer())


def load(x: Value, i: Any = 0) -> Value:
    """x[i : i + 16]."""
    return Value(x.code, x.code.load(pointer(x, i, VECTOR), align=SIZE))


def store(x: Value, i: Any, value: Value) -> None:
    """x[i : i + 16] = value."""
    x.code.store(value.value, pointer(x, i, VECTOR), align=SIZE)


def spread(x: Value, i: Any = 0) -> Value:
    """x[i] in each lane."""
    nothing, first = ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    one = x.code.insert_element(nothing, x.code.load(pointer(x, i, FLOAT)), ir.Constant(ir.IntType(32), 0))
    return Value(x.code, x.code.shuffle_vector(one, nothing, first))


def fused(x: Value, y: Value, a: Value) -> Value:
    """x y + a, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = x.code.module.declare_intrinsic("llvm.fma.v16f32", fnty=kind)
    return Value(x.code, x.code.call(function, [x.value, y.value, a.value]))


def drawn(address: Value) -> Value:
    """The whole number at an address, which is one more for whoever asks next, in any thread."""
    place = address.code.inttoptr(address.value, WHOLE.as_pointer())
    return Value(address.code, address.code.atomic_rmw("add", place, ir.Constant(WHOLE, 1), "seq_cst"))


def repeated(n: Value, step: Callable[[Value, list[Value]], list[Value]], first: Sequence[Value]) -> list[Value]:
    """What comes of step(i, values) for i = 0, ..., n - 1, from the first values on; n > 0."""
    code, before = n.code, n.code.block
    loop, after = code.append_basic_block("loop"), code.append_basic_block("after")
    code.branch(loop)
    code.position_at_end(loop)
    turning = [Value(code, code.phi(each.value.type)) for each in (n, *first)]
    i, *values = turning
    turned = [i + 1, *step(i, values)]
    for each, begin, again in zip(turning, (number(n, 0, WHOLE), *first), turned, strict=True):
        each.value.add_incoming(begin.value, before)
        each.value.add_incoming(again.value, code.block)
    code.cbranch(code.icmp_signed("<", turned[0].value, n.value), loop, after)
    code.position_at_end(after)
    return turned[1:]


def written(write: Callable[..., Value | None], gives: Any = types.void) -> Any:
    """What compiled functions call, with whole numbers, for the instructions that `write` leaves."""

    def typed(context: Any, *kinds: Any) -> Any:
        def generated(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            found = write(*(Value(builder, each) for each in given))
            return found.value if found else context.get_dummy_value()

        return gives(*[types.int64] * len(kinds)), generated

    own, *numbers = (Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("context", *names(write)))
    typed.__signature__ = Signature([own, *numbers])  # type: ignore[attr-defined]  # Numba counts arguments by it
    return intrinsic(typed)


def names(write: Callable[..., Any]) -> list[str]:
    """Of the values that a function takes; what is fixed already is not one of them."""
    found = signature(unwrap(write)).parameters.values()
    return [each.name for each in found if each.kind is Parameter.POSITIONAL_OR_KEYWORD]


ticket = written(drawn, types.int64)

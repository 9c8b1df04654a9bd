"""The checks of `op_checks` on planted defects: each defect is caught, by the check that is there for it."""

import numpy as np
import pytest

from op_checks import (
    check_batch,
    check_batched_derivatives,
    check_dtype,
    check_entry,
    check_jvp,
    check_nested_batch,
    check_number,
    check_rules,
    check_second_order,
    check_shape,
    check_vjp,
)
from pullback.ops.cast import cast, conj, real, real_of
from pullback.ops.control import stop_gradient
from pullback.ops.elementwise import cos, exp, sin, where
from pullback.ops.samples import Sample, complex_nonzero, complex_normal, normal, positive
from pullback.ops.shape import broadcast_to, reduced, reshape, spread_over
from pullback.ops.table import TABLE, elementwise, general, linear, nondifferentiable
from pullback.values.shape import Spec


@pytest.fixture(autouse=True)
def table():
    """What a test enters in the table is taken out again."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def caught(check, op, *args):
    """Whether the check fails on one of the op's samples; anything but an assertion must come from the op itself."""
    try:
        for sample in op.samples:
            check(op, sample, *args)
    except (AssertionError, TypeError, ValueError, NotImplementedError, IndexError, AttributeError, RuntimeError):
        return True
    return False


def product(left, right, **options):
    return elementwise(
        "planted", np.multiply, left, right, samples=[Sample(normal(2, 3), normal(3))], doc="a · b.", **options
    )


def planted_sum(transpose, shape=None, batch=None, samples=None):
    return linear(
        "planted",
        lambda x, axis, keepdims: np.add.reduce(x, axis=axis, keepdims=keepdims),
        transpose,
        shape=shape or (lambda x, axis, keepdims: Spec(reduced(x.shape, axis, keepdims), x.dtype)),
        batch=batch or TABLE["sum"].batch,
        samples=samples or TABLE["sum"].samples,
        doc="A sum.",
    )


RIGHT = (lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)


def test_a_right_op_passes():
    op = product(*RIGHT)
    check_entry(op)
    for check in (check_shape, check_jvp, check_vjp, check_batch, check_second_order, check_rules, check_number):
        assert not caught(check, op)
    assert not caught(check_dtype, op, "float32", 1e-4)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda g, _y, a, _b: g * a, RIGHT[1]),  # the wrong operand
        (RIGHT[0], lambda g, _y, a, _b: -g * a),  # the sign
        (lambda g, _y, _a, b: g * (2 * b), RIGHT[1]),  # a factor
        (lambda g, _y, _a, b: g * (b + 1e-6), RIGHT[1]),  # nearly right
    ],
)
def test_wrong_partial(left, right):
    op = product(left, right)
    assert caught(check_jvp, op)


def test_partial_of_the_result_instead_of_the_operand():
    op = elementwise(
        "planted", np.exp, lambda g, y, _x: g * exp(y), samples=[Sample(normal(3))], doc="The slope is taken at y."
    )
    assert caught(check_jvp, op)


def test_transpose_that_ignores_the_axis():
    op = planted_sum(lambda g, _y, x, axis, keepdims: broadcast_to(g, shape=x.shape))
    assert caught(check_vjp, op)
    del TABLE["planted"]
    square = [Sample(normal(3, 3), axis=(1,), keepdims=False)]  # the shapes agree here, only the numbers do not
    op = planted_sum(lambda g, _y, x, axis, keepdims: broadcast_to(g, shape=x.shape), samples=square)
    assert caught(check_vjp, op)


def test_transpose_that_forgets_the_divisor():
    op = linear(
        "planted",
        lambda x, axis, keepdims: np.mean(x, axis, keepdims=keepdims),
        lambda g, _y, x, axis, keepdims: spread_over(g, x.shape, axis, keepdims),
        shape=TABLE["mean"].shape,
        batch=lambda size, args, batched, axis, keepdims: op(*args, axis=tuple(a + 1 for a in axis), keepdims=keepdims),
        samples=TABLE["mean"].samples,
        doc="A mean.",
    )
    assert not caught(check_jvp, op)
    assert caught(check_vjp, op)


def test_batch_rule_off_by_one_axis():
    right = lambda g, _y, x, axis, keepdims: spread_over(g, x.shape, axis, keepdims)  # noqa: E731
    op = planted_sum(right, batch=lambda size, args, batched, axis, keepdims: op(*args, axis=axis, keepdims=keepdims))
    assert not caught(check_vjp, op)
    assert caught(check_batch, op)
    assert caught(check_nested_batch, op)
    assert caught(check_batched_derivatives, op)


def test_batch_rule_that_misses_an_unbatched_operand():
    op = linear(
        "planted",
        lambda a, b: a @ b,
        TABLE["mm"].rules[0],
        TABLE["mm"].rules[1],
        shape=TABLE["mm"].shape,
        batch=lambda size, args, batched: (
            TABLE["matmul"](*args)
            if all(batched)
            else TABLE["matmul"](args[0], reshape(args[1], shape=(*args[1].shape[:-2], *args[1].shape[-2:]))) * 1.5
        ),
        samples=[Sample(normal(2, 3), normal(3, 4))],
        doc="Right only when both operands are batched.",
    )
    assert caught(check_batch, op)


def test_missing_conjugation():
    op = general(
        "planted",
        np.abs,
        vjp=lambda g, y, x: (cast(g, dtype=x.dtype) * conj(x) / cast(y, dtype=x.dtype),),
        jvp=lambda tangents, y, x: real(tangents[0] * conj(x)) / y,
        shape=real_of,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(complex_nonzero(3))],
        doc="|x| with a conjugated gradient.",
    )
    assert not caught(check_jvp, op)
    assert caught(check_vjp, op)
    del TABLE["planted"]
    op = linear(
        "planted",
        np.conj,
        lambda g, _y, _x: g,
        shape=lambda x: x,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(complex_normal(3))],
        doc="conj(x) with its transpose unconjugated.",
    )
    assert caught(check_vjp, op)


def test_modes_that_disagree():
    op = general(
        "planted",
        np.sin,
        vjp=lambda g, _y, x: (g * cos(x),),
        jvp=lambda tangents, _y, x: tangents[0] * sin(x),
        shape=lambda x: x,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(normal(3))],
        doc="The forward rule is wrong.",
    )
    assert caught(check_jvp, op)
    assert caught(check_vjp, op)


def test_rule_that_cannot_be_differentiated_again():
    op = elementwise(
        "planted",
        np.sin,
        lambda g, _y, x: g * cos(stop_gradient(x)),
        samples=[Sample(normal(3))],
        doc="The slope is taken for a constant.",
    )
    assert not caught(check_jvp, op)
    assert not caught(check_vjp, op)
    assert caught(check_second_order, op)


def test_rule_in_raw_numpy():
    op = elementwise(
        "planted", np.sin, lambda g, _y, x: g * np.asarray(np.cos(x)), samples=[Sample(normal(3))], doc="sin x."
    )
    assert caught(check_vjp, op) or caught(check_second_order, op) or caught(check_batched_derivatives, op)


def test_rule_that_widens():
    op = elementwise(
        "planted",
        np.log,
        lambda g, _y, x: g / (x * np.float64(1.0)),
        samples=[Sample(positive(3))],
        doc="A constant of its own dtype.",
    )
    assert not caught(check_vjp, op)
    assert caught(check_dtype, op, "float32", 1e-4)
    del TABLE["planted"]
    op = elementwise(
        "planted",
        lambda x: x * np.float64(2.0),
        lambda g, _y, _x: g * 2.0,
        samples=[Sample(positive(3))],
        doc="The same in the value.",
    )
    assert caught(check_dtype, op, "float32", 1e-4)


def test_rule_that_widens_with_a_number():
    op = elementwise(
        "planted",
        lambda a, b: a * b,
        lambda g, _y, _a, b: g * where(b != b, 1.0, b) if isinstance(b, float) else g * b,
        RIGHT[1],
        samples=[Sample(normal(3), normal(3))],
        doc="NumPy makes an array of two numbers a float64 one.",
    )
    assert caught(check_number, op)


def test_shape_rule():
    right = TABLE["sum"].rules[0]
    keep = planted_sum(right, shape=lambda x, axis, keepdims: Spec(reduced(x.shape, axis, True), x.dtype))
    assert caught(check_shape, keep)
    del TABLE["planted"]
    dtype = planted_sum(
        right, shape=lambda x, axis, keepdims: Spec(reduced(x.shape, axis, keepdims), np.dtype("float32"))
    )
    assert caught(check_shape, dtype)


def test_result_that_shares_memory():
    op = linear(
        "planted",
        lambda x: x[::-1],
        lambda g, _y, _x: op(g),
        shape=lambda x: x,
        batch=lambda size, args, batched: TABLE["flip"](*args, axis=(1,)),
        samples=[Sample(normal(3))],
        doc="A view that does not say so.",
    )
    assert caught(check_shape, op)


def test_unsaved_operand_that_is_read():
    op = product(lambda g, _y, _a, _b: g * _b, RIGHT[1])
    assert caught(check_rules, op)


def test_same_array_twice():
    def vjp(g, y, a, b):
        both = g * 2.0
        return both, both

    op = general(
        "planted",
        lambda a, b: 2.0 * (a + b),
        vjp=vjp,
        jvp=lambda tangents, y, a, b: sum(2.0 * t for t in tangents if t is not None),
        shape=TABLE["add"].shape,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(normal(3), normal(3))],
        doc="2 (a + b).",
    )
    assert not caught(check_vjp, op)
    assert caught(check_rules, op)


def test_saved_array_given_away():
    op = general(
        "planted",
        lambda x: 0.5 * x * x,
        vjp=lambda g, y, x: (x if np.all(g == 1) else x[...],),
        jvp=lambda tangents, y, x: tangents[0] * x,
        shape=lambda x: x,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(normal(3))],
        doc="The gradient is the operand itself.",
    )
    assert caught(check_rules, op)


def test_rule_that_writes_to_its_cotangent():
    def partial(g, _y, x):
        g *= 2.0
        return g * x

    op = elementwise("planted", np.square, partial, samples=[Sample(normal(3))], doc="x².")
    assert caught(check_rules, op)


def test_forward_rule_that_skips_an_operand():
    op = general(
        "planted",
        np.multiply,
        vjp=lambda g, _y, a, b: (g * b, g * a),
        jvp=lambda tangents, y, a, b: tangents[0] * b,
        shape=TABLE["mul"].shape,
        batch=lambda size, args, batched: op(*args),
        samples=[Sample(normal(3), normal(3))],
        doc="a · b.",
    )
    assert caught(check_jvp, op)


def test_entry_without_samples_or_doc():
    with pytest.raises(AssertionError, match="no samples"):
        check_entry(elementwise("planted", np.exp, lambda g, y, _x: g * y, samples=[], doc="e to the x."))
    del TABLE["planted"]
    with pytest.raises(AssertionError):
        check_entry(elementwise("planted", np.exp, lambda g, y, _x: g * y, samples=[Sample(normal(3))], doc=""))
    del TABLE["planted"]
    fixed = [Sample(normal(3), np.ones(3))]
    with pytest.raises(AssertionError, match="constants in every sample"):
        check_entry(elementwise("planted", np.multiply, *RIGHT, samples=fixed, doc="b is never varied."))


def test_nondifferentiable_batch():
    op = nondifferentiable(
        "planted",
        lambda x, axis: np.argmax(x, axis),
        shape=lambda x, axis: Spec(x.shape[:axis] + x.shape[axis + 1 :], np.dtype(np.int64)),
        batch=lambda size, args, batched, axis: op(*args, axis=axis),
        samples=[Sample(normal(3, 4), axis=1)],
        doc="Where the largest is.",
    )
    assert not caught(check_shape, op)
    assert caught(check_batch, op)

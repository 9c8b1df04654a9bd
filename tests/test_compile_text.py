"""Graphs as text: what is printed reads back identically, and what is no graph is refused with its line."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import pullback as pb
from graph_tools import bits, sample_graphs
from pullback.compile.text import parse_graph, print_graph
from pullback.compile.verify import verify
from pullback.ops.table import TABLE
from pullback.ops.windows import Window
from pullback.transforms.trace import trace
from pullback.values.graph import Graph
from pullback.values.shape import Spec

FLOAT = np.dtype(np.float64)


def test_every_sample_and_its_gradient():
    for name, graph, inputs in sample_graphs():
        text = print_graph(graph)
        again = parse_graph(text)
        assert print_graph(again) == text, name
        verify(again)
        with np.errstate(all="ignore"):
            assert list(map(bits, again(*inputs))) == list(map(bits, graph(*inputs))), name


def with_param(value: Any) -> Graph:
    """A graph with an instruction that holds any parameter: text does not ask what an op does with it."""
    graph = Graph()
    x = graph.input(Spec((2,), FLOAT))
    graph.append(TABLE["identity"], (x,), {})
    graph.instructions[-1].params["value"] = value
    graph.outputs = [graph.instructions[-1].outputs[0]]
    return graph


@pytest.fixture(scope="module")
def anything():
    """`identity` takes any parameter for the test."""
    with pytest.MonkeyPatch.context() as patch:
        for field in ("shape", "evaluate"):
            patch.setattr(TABLE["identity"], field, lambda x, **params: x)
        yield


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.just(...)
    | st.sampled_from([np.dtype(t) for t in ("float32", "complex128", "bool", "int8", ">f8")])
    | st.builds(slice, st.none() | st.integers(-9, 9), st.none() | st.integers(), st.none() | st.integers(1, 3))
    | st.just(Window((2, 2), (1, 1), ((0, 1), (1, 0)), (1, 1)))
    | st.just(Spec((2, 3), FLOAT))
    | arrays.arrays(
        st.sampled_from(["f8", "f4", "f2", "c8", "c16", "i8", "u1", "?", ">f4"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple))


@given(value=VALUES)
@settings(max_examples=300, deadline=None)
def test_any_parameter(anything, value):
    text = print_graph(with_param(value))
    found = parse_graph(text)
    assert print_graph(found) == text
    assert same(found.instructions[0].params["value"], value)


def same(a: Any, b: Any) -> bool:
    """Of one type, and equal bit for bit."""
    if isinstance(b, np.ndarray | np.generic):
        return isinstance(a, np.ndarray | np.generic) and bits(a) == bits(b)
    if isinstance(b, float | complex):
        return type(a) is type(b) and bits(np.array(a)) == bits(np.array(b))
    if isinstance(b, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b if not isinstance(b, np.dtype) else a == b


@pytest.mark.parametrize(
    "pattern", [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000123, 0x7FF0000000000001, 0x8000000000000000]
)
def test_floats_keep_their_bits(anything, pattern):
    number = np.array([pattern], np.uint64).view(np.float64)
    for value in (
        number,
        number[0],
        float(number[0]),
        complex(1.0, float(number[0])),
        np.append(number, number).view(complex),
    ):
        (found,) = parse_graph(print_graph(with_param(value))).instructions
        assert bits(found.params["value"]) == bits(value)


def test_large_constants_follow_once():
    table = np.arange(100.0)
    graph = trace(lambda x: x * table + np.sin(x * table.copy()), np.ones(100)).graph
    text = print_graph(graph)
    assert text.count("@0") == 3
    assert "@1" not in text
    np.testing.assert_array_equal(parse_graph(text)(np.ones(100))[0], table + np.sin(table))


def test_graphs_within_graphs(anything):
    inner = trace(lambda x: x * 2.0 + np.arange(20.0), np.ones(20)).graph
    for value in (inner, (inner, with_param(inner)), (1, (inner,))):
        text = print_graph(with_param(value))
        found = parse_graph(text)
        assert print_graph(found) == text
    assert text.count("@0:float64[20]") == 1


def test_the_look():
    graph = trace(pb.grad(lambda x: np.sum(x[1:] * np.tanh(x[0]))), np.float32([1, 2, 3])).graph
    assert print_graph(graph).split("\n")[:4] == [
        "graph(%0: float32[3])",
        "  %1: float32[2] = slice(%0) index=(slice(1, None, None),)",
        "  %2: float32[] = slice(%0) index=(0,)",
        "  %3: float32[] = tanh(%2)",
    ]
    assert "mul({1.0, 1.0}:float32[2], %1)" in print_graph(graph)
    assert str(graph) == print_graph(graph)


HEAD = "graph(%0: float64[3])\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: graph is expected"),
        ("graph(%0: float64[3]", "line 1: , is expected"),
        ("graph(%0: float64)\n  return %0", "line 1: %0 has no shape"),
        ("graph(%0: object[3])\n  return %0", "line 1: there is no dtype 'object'"),
        ("graph(%0: float65[3])\n  return %0", "line 1: there is no dtype 'float65'"),
        ("graph(%0: float64[3], %0: float64[3])\n  return %0", "line 1: %0 is made twice"),
        (HEAD + "  %1: float64[3] = os.system(%0)\n", "line 2: '.' is not expected"),
        (HEAD + "  %1: float64[3] = eval(%0)\n  return %1", "line 2: there is no op 'eval'"),
        (HEAD + "  %1: float64[3] = sin(%2)\n  return %1", "line 2: %2 is read before it is made"),
        (HEAD + "  %1: float64[4] = sin(%0)\n  return %1", r"line 2: sin gives float64\[3\], not float64\[4\]"),
        (HEAD + "  %0: float64[3] = sin(%0)\n  return %0", "line 2: %0 is made twice"),
        (HEAD + "  %1: float64[3] = sin(%0, 2.0)\n  return %1", "line 2: sin takes 1 operands, not 2"),
        (HEAD + "  %1: float64[3] = sin(%0) axis=1\n  return %1", "line 2: sin takes no parameter 'axis'"),
        (HEAD + "  %1: float64[3] = add(%0)\n  return %1", "line 2: add takes 2 operands, not 1"),
        (HEAD + "\n  %1: float64[] = sum(%0) axis=(5,\n  return %1", "line 4: there is no dtype 'return'"),
        (HEAD + "  %1: float64[3] = add(%0, 'text')\n  return %1", "line 2: 'text' is no operand"),
        (HEAD + "  %1: float64[3] = add(%0, {1.0}:float64[3])\n  return %1", "line 2: 1 elements are not"),
        (HEAD + "  %1: float64[3] = add(%0, {1.0}:float64[99999999999])\n  return %1", "line 2: 1 elements are not"),
        (HEAD + "  %1: float64[3] = add(%0, 300:int8)\n  return %1", "line 2: 300 is no int8"),
        (HEAD + "  %1: float64[3] = add(%0, 1.5:int8)\n  return %1", "line 2: 1.5 is no int8"),
        (HEAD + "  %1: float64[3] = add(%0, @0:float64[3])\n  return %1", "line 2: @0 does not follow the graph"),
        (HEAD + "  return %0\n@0: float64[9] = 'AAAA'", "line 3: @0 has 3 bytes"),
        (HEAD + "  return %0\n@0: float64[9] = 'AAAAA'", "line 3: the bytes of @0"),
        (HEAD + "  return %0\n@1: float64[9] = ''", "line 3: the constant @0 is expected"),
        (HEAD + "  return %0 %0", "line 2: the end is expected"),
        (HEAD + "  %1: float64[3] = sin(%0) x=" + "(" * 2000, "line 2: too deeply nested"),
        (HEAD + "  %1: float64[3] = sin(%0) x=" + "{" * 2000, "line 2: too deeply nested"),
        (HEAD + "  %1: float64[3] = sin(%0) x=" + "9" * 9999, "line 2: Exceeds the limit"),
        (HEAD + "  %1: float64[3] = sin(%0) x=Popen(args='sh')\n  return %1", "line 2: there is no record 'Popen'"),
        (HEAD + "  %1: float64[3] = sin(%0) x=Window(kernel=1)\n  return %1", "line 2: Window has the fields kernel"),
    ],
)
def test_what_is_no_graph_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_graph(text)


GOOD = print_graph(trace(pb.grad(lambda x: (np.tanh(x)[1:] * np.arange(3.0)).sum()), np.ones(4)).graph)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_text_is_read_or_refused(data):
    place = data.draw(st.integers(0, len(GOOD) - 1))
    text = GOOD[:place] + data.draw(st.text("(){}[]%@:=,'.0123456789abc\n ", max_size=4)) + GOOD[place + 1 :]
    try:
        graph = parse_graph(text)
    except ValueError as error:
        message = str(error)
        assert message.startswith("line ")
    else:
        verify(graph)

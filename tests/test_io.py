"""PyTorch's checkpoint format and safetensors on bare arrays, both ways, held against PyTorch."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from io_tools import (
    TYPED,
    UNTYPED,
    archive_of,
    as_leaf,
    assert_same,
    program,
    read,
    read_leaves,
    sample,
    storage_ops,
    tensor_ops,
    write,
)
from pullback.io import CheckpointError, pth, safetensors
from pullback.values.dtype import DTYPES
from pullback.values.shape import Size

torch = pytest.importorskip("torch")


def torch_bytes(obj: object) -> bytes:
    stream = io.BytesIO()
    torch.save(obj, stream)
    return stream.getvalue()


def torch_load(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def records(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


# -- both ways with PyTorch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPED + UNTYPED)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (0, 3), (1, 1, 1)])
def test_every_dtype_and_shape_goes_both_ways(dtype: str, shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    for loaded in (read(torch_bytes(torch.from_numpy(array))), torch_load(write(array)).numpy()):
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()


def test_strides_go_both_ways() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    views = {
        "transposed": base.permute(2, 0, 1),
        "sliced": base[:, 1:, ::2],
        "offset": base[1],
        "diagonal": torch.diagonal(base, dim1=1, dim2=2),
        "expanded": torch.ones(3).expand(2, 3),
        "scalar": base[1, 2, 3],
    }
    for name, view in views.items():
        loaded = read(torch_bytes(view))
        assert np.array_equal(loaded, view.numpy()), name
        assert loaded.strides == view.numpy().strides, name
        back = torch_load(write(view.numpy()))
        assert torch.equal(back, view), name
    assert torch_load(write(views["transposed"].numpy())).stride() == views["transposed"].stride()


def test_loaded_arrays_are_writable_and_own_their_memory() -> None:
    loaded = read(torch_bytes([torch.zeros(3), torch.zeros(3)]))
    loaded[0][:] = 1
    assert loaded[1].tolist() == [0, 0, 0]


def test_shared_memory_stays_shared() -> None:
    base = torch.arange(6.0)
    loaded = read(torch_bytes({"base": base, "even": base[::2], "tail": base[4:]}))
    loaded["base"][4] = 40
    assert (loaded["even"][2], loaded["tail"][0]) == (40, 40)

    array = np.arange(6.0)
    back = torch_load(write({"even": array[::2], "odd": array[1::2], "base": array, "square": array.reshape(2, 3).T}))
    back["base"][4] = 40
    back["odd"][0] = 10
    assert (back["even"][2], back["square"][1, 1], back["base"][1]) == (40, 40, 10)


def test_one_object_met_twice_is_one_object_again() -> None:
    weight, nested = np.ones(2), {"a": 1}
    for loaded in (
        read(write([weight, weight, nested, nested])),
        torch_load(write([weight, weight, nested, nested])),
        read(torch_bytes([torch.ones(2)] * 2 + [nested] * 2)),
    ):
        assert loaded[0] is loaded[1]
        assert loaded[2] is loaded[3]


def test_cycles_survive() -> None:
    loop: dict[str, Any] = {"items": []}
    loop["items"].append(loop)
    loaded = read(write(loop))
    assert loaded["items"][0] is loaded
    pair: tuple[Any, ...] = ([],)
    pair[0].append(pair)
    loaded = read(write(pair))
    assert loaded[0][0][0] is loaded[0]


def test_a_view_is_saved_without_the_rest_of_its_memory() -> None:
    array = np.arange(100_000.0)
    assert len(write(array[:4])) < 2000
    assert len(write(array[::25_000])) < 2000
    assert len(write(np.broadcast_to(np.ones(4), (1000, 4)))) < 2000
    assert len(write([array[:4], array[2:6]])) < 2000


def test_what_pytorch_has_no_strides_for_is_copied() -> None:
    array = np.arange(6.0)
    pairs = np.zeros(3, [("a", "<f8"), ("b", "<i2")])
    back = torch_load(write([array[::-1], array.astype(">f8"), pairs["a"], np.array(1j).real]))
    assert back[0].tolist() == array[::-1].tolist()
    assert back[1].tolist() == array.tolist()
    assert back[2].tolist() == [0, 0, 0]


def test_another_view_of_the_same_bytes_is_copied() -> None:
    numbers = np.array([1 + 2j, 3 + 4j])
    back = torch_load(write([numbers, numbers.real, numbers.imag]))
    assert back[0].tolist() == numbers.tolist()
    back[1][0] = 9
    assert back[2].tolist() == [2, 4]
    assert back[0][0] == 1 + 2j


def test_parameters_and_requires_grad_go_both_ways() -> None:
    saved = {
        "plain": torch.ones(2),
        "leaf": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    }
    expected = {"plain": (False, False), "leaf": (True, False), "parameter": (True, True), "frozen": (False, True)}
    loaded = read_leaves(torch_bytes(saved))
    assert {name: leaf[1:] for name, leaf in loaded.items()} == expected
    back = torch_load(write(loaded))
    assert {name: (t.requires_grad, type(t) is torch.nn.Parameter) for name, t in back.items()} == expected
    assert back["leaf"].is_leaf


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    return str(caught.value)


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


@pytest.mark.parametrize("name", ["Adam", "SGD", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
def test_a_training_checkpoint_goes_to_and_fro(name: str) -> None:
    model = network()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    x = torch.randn(8, 3)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
        scheduler.step()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "epoch": 2,
    }
    loaded = read(torch_bytes(checkpoint))
    assert type(loaded["model"]) is OrderedDict
    assert loaded["model"]._metadata["1"]["version"] == 2
    assert isinstance(loaded["scheduler"]["milestones"], Counter)

    back = torch_load(write(loaded))
    other = network()
    other.load_state_dict(back["model"])
    resumed = getattr(torch.optim, name)(other.parameters(), lr=0.1)
    resumed.load_state_dict(back["optimizer"])
    assert torch.equal(other(x), model(x))
    assert torch_bytes(resumed.state_dict()) is not None
    assert str(resumed.state_dict()) == str(optimizer.state_dict())
    assert back["model"]._metadata == model.state_dict()._metadata


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_pickle_protocol_is_read(protocol: int) -> None:
    saved = {"w": torch.ones(2), "s": {1, "a"}, "f": frozenset({2}), "b": b"\x00\xff", "e": b"", "a": bytearray(b"xy")}
    saved |= {"t": (1, (2.5, None)), "c": 1 - 2j, "big": -(2**80), "u": "é\ud800", "x" * 300: [True, False], "z": ()}
    saved |= {"od": OrderedDict(a=1), "count": Counter("aab"), "loop": []}
    saved["loop"].append(saved["loop"])
    stream = io.BytesIO()
    torch.save(saved, stream, pickle_protocol=protocol)
    loaded = read(stream.getvalue())
    assert loaded["loop"][0] is loaded["loop"]
    assert loaded.pop("w").tolist() == [1, 1]
    del saved["w"], saved["loop"], loaded["loop"]
    assert loaded == saved
    assert {key: type(value) for key, value in loaded.items()} == {key: type(value) for key, value in saved.items()}


def test_the_small_types_of_pytorch_are_read() -> None:
    saved = [torch.Size([2, 3]), torch.float64, torch.bfloat16, torch.device("cpu"), torch.device("cuda", 1)]
    assert read(torch_bytes(saved)) == [Size((2, 3)), DTYPES["float64"], DTYPES["float32"], "cpu", "cuda:1"]
    assert torch_load(write([Size((2, 3)), DTYPES["int8"]])) == [torch.Size([2, 3]), torch.int8]


def test_bfloat16_is_widened_and_shared() -> None:
    base = torch.tensor([1.0, -0.0, 3.14, float("inf"), 1e-40, float("nan")], dtype=torch.bfloat16)
    whole, tail = read(torch_bytes([base, base[2:]]))
    assert whole.dtype == np.float32
    assert whole.tobytes() == base.float().numpy().tobytes()
    whole[2] = 7
    assert tail[0] == 7


def test_conjugates_and_negatives_that_pytorch_put_off_are_carried_out() -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    for view in (z.conj(), z.conj().imag, z.conj()[1:]):
        assert view.is_conj() or view.is_neg()
        assert read(torch_bytes(view)).tolist() == view.tolist()


def test_attributes_on_tensors_are_dropped() -> None:
    tensor, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(2))
    tensor.note, parameter.note = "a", {"b": 1}
    loaded = read_leaves(torch_bytes([tensor, parameter, torch.nn.Buffer(torch.ones(2))]))
    assert [leaf.is_parameter for leaf in loaded] == [False, True, False]


def test_checkpoints_without_checksums_are_read() -> None:
    try:
        torch.serialization.set_crc32_options(False)
        data = torch_bytes(torch.arange(3))
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(data).tolist() == [0, 1, 2]


def test_a_file_named_by_pytorch_is_read_and_ours_can_be_mapped(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "my model.pth")
    assert read((tmp_path / "my model.pth").read_bytes())["w"].tolist() == [1, 1, 1]
    (tmp_path / "ours.pth").write_bytes(write({"w": np.arange(3.0), "v": np.arange(2)}))
    mapped = torch.load(tmp_path / "ours.pth", mmap=True, weights_only=True)
    assert (mapped["w"].tolist(), mapped["v"].tolist()) == ([0, 1, 2], [0, 1])


@pytest.mark.parametrize("zip64", [False, True])
def test_records_are_aligned_and_the_file_is_sound(monkeypatch: pytest.MonkeyPatch, zip64: bool) -> None:
    if zip64:
        monkeypatch.setattr(pth, "_ZIP64", 5)
    data = write([np.arange(n, dtype=np.int8) for n in (1, 3, 200)])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            name, extra = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
            assert (info.header_offset + 30 + name + extra) % 64 == 0
    assert records(data)["archive/version"] == b"3\n"
    assert records(data)["archive/byteorder"] == sys.byteorder.encode()
    assert [tensor.tolist() for tensor in torch_load(data)] == [list(range(n)) for n in (1, 3)] + [
        np.arange(200, dtype=np.int8).tolist()
    ]


def test_the_same_object_gives_the_same_bytes() -> None:
    def make() -> Any:
        return {"b": np.arange(5.0), "a": [np.ones((3, 2)).T, "x"], "f": 0.1}

    assert write(make()) == write(make())


@pytest.mark.parametrize("dtype", [*TYPED, "bfloat16"])
def test_the_other_byte_order_is_read(dtype: str) -> None:
    other = "big" if sys.byteorder == "little" else "little"
    if dtype == "bfloat16":
        stored, expected = np.array([0x3F80, 0x4000], np.uint16).byteswap(), np.array([1, 2], np.float32)
    else:
        expected = sample(dtype, (2,))
        stored = expected.byteswap()
    kind = f"torch.{pth._STORAGE[dtype]}"
    data = archive_of(
        program(tensor_ops(storage=storage_ops(kind, count=2), size=(2,))), stored.tobytes(), byteorder=other.encode()
    )
    assert read(data).tobytes() == expected.tobytes()


def test_booleans_that_are_neither_0_nor_1_are_made_so() -> None:
    data = archive_of(program(tensor_ops(storage=storage_ops("torch.BoolStorage"))), b"\x00\x01\x02\xff")
    assert read(data).view(np.uint8).tolist() == [0, 1, 1, 1]


# -- nested containers, at random ------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
)
arrays = st.builds(
    sample, st.sampled_from(TYPED + UNTYPED), st.lists(st.integers(0, 3), max_size=3).map(tuple)
)  # fmt: skip
keys = st.one_of(scalars, st.tuples(scalars, st.tuples(scalars)))
nested = st.recursive(
    st.one_of(scalars, arrays, st.sets(keys, max_size=3), st.binary(max_size=5).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
        st.dictionaries(keys, st.integers(), max_size=3).map(Counter),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(nested)
def test_any_nesting_comes_back_the_same(obj: Any) -> None:
    assert_same(read(write(obj)), obj)


@settings(max_examples=100, deadline=None)
@given(nested)
def test_any_nesting_is_read_by_pytorch(obj: Any) -> None:
    assert_same(torch_load(write(obj)), obj)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_views_of_one_array_at_random(data: st.DataObject) -> None:
    base = np.arange(24.0).reshape(4, 6)
    bound = st.integers(0, 6)
    step = st.sampled_from([1, 2, 3])
    cuts = st.tuples(st.builds(slice, bound, bound, step), st.builds(slice, bound, bound, step), st.booleans())
    views = [
        base[rows, columns].T if turned else base[rows, columns] for rows, columns, turned in data.draw(st.lists(cuts))
    ]
    data_bytes = write(views)
    for loaded in (read(data_bytes), [tensor.numpy() for tensor in torch_load(data_bytes)]):
        for mine, view in zip(loaded, views, strict=True):
            assert np.array_equal(mine, view)
        for i, a in enumerate(views):
            for j, b in enumerate(views):
                assert np.shares_memory(loaded[i], loaded[j]) == np.shares_memory(a, b)


# -- what PyTorch saves and we do not build ---


def test_whole_models_are_refused_with_advice() -> None:
    found = refusal(torch_bytes(network()))
    assert "'torch.nn.modules.container.Sequential'" in found
    assert "save its state_dict() instead" in found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.ones(2).to_sparse(), "to_dense"),
        (lambda: torch.ones(2).to("meta"), "to_dense"),
        (lambda: torch.ones(2, dtype=torch.float8_e5m2), "cast to a dtype"),
        (lambda: np.float64(3), "NumPy values plain"),
        (lambda: np.ones(3), "NumPy values plain"),
        (lambda: {"path": Path("x")}, "save plain data"),
        (lambda: torch.ones(2).untyped_storage(), "storage without its tensor"),
    ],
)
def test_what_pytorch_saves_beyond_tensors_and_plain_data_is_refused(make: Any, message: str) -> None:
    assert message in refusal(torch_bytes(make()))


# -- what cannot be saved --------------------------------------------------------------------------------------------


class Net:
    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"model": [1, Net()]}, r"test_io.Net at obj\['model'\]\[1\]; save its state_dict\(\)"),
        ({"f": {"g": len}}, r"builtin_function_or_method at obj\['f'\]\['g'\]; a checkpoint holds tensors"),
        (np.dtype("f4"), "numpy.dtype"),
        ([frozenset({1})], r"frozenset at obj\[0\]; make it a plain dict, list, tuple or set"),
        ({np.ones: 1}, "as a key or set element; use strings or numbers"),
        ({(1, (2, len)): 1}, "as a key or set element"),
        (np.array(["a"]), "cannot save an array of <U1; cast it to one of float32"),
        (np.array([None]), "cannot save an array of object"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name_and_place(obj: object, message: str) -> None:
    stream = io.BytesIO()
    with pytest.raises(TypeError, match=message):
        pth.write(obj, stream, as_leaf)
    assert stream.getvalue() == b""


def test_an_array_that_is_no_tensor_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"numpy.ndarray at obj\['x'\]; make it a tensor, or a list with .tolist\(\)"):
        pth.write({"x": np.ones(2)}, io.BytesIO(), lambda _: None)


def test_nesting_and_numbers_beyond_the_format_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper than Python's stack; flatten it"):
        write(deep)
    with pytest.raises(ValueError, match="an int of 3001 bits, 2039 being the most"):
        write(2**3000)
    assert read(write(2**2038)) == 2**2038


def test_numpy_scalars_are_saved_as_numbers() -> None:
    saved = [np.float32(0.5), np.int64(3), np.bool_(True), np.complex64(1j), {np.int64(1): np.float64(2)}]
    assert_same(torch_load(write(saved)), [0.5, 3, True, 1j, {1: 2.0}])


# -- safetensors -----------------------------------------------------------------------------------------------------


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("safetensors")


def write_safetensors(obj: object, metadata: Any = None) -> bytes:
    stream = io.BytesIO()
    safetensors.write(obj, stream, as_leaf, metadata)
    return stream.getvalue()


def read_safetensors(data: bytes) -> Any:
    return safetensors.read(io.BytesIO(data), lambda leaf: leaf.array)


def test_safetensors_go_both_ways(library: Any) -> None:
    import safetensors.torch as peer

    saved = {dtype: sample(dtype, (2, 3)) for dtype in TYPED + UNTYPED if dtype != "complex128"}
    saved |= {
        "scalar": np.array(2.5),
        "empty": np.ones((0, 3)),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "swapped": sample("f4"),
    }
    data = write_safetensors(saved | {"swapped": saved["swapped"].astype(">f4")}, {"epoch": "3"})
    for loaded in (read_safetensors(data), {name: tensor.numpy() for name, tensor in peer.load(data).items()}):
        assert loaded.keys() == saved.keys()
        for name, array in saved.items():
            assert_same(loaded[name], np.asarray(array, order="C"))
    assert safetensors.read_metadata(io.BytesIO(data)) == {"epoch": "3"}
    assert safetensors.read_metadata(io.BytesIO(write_safetensors({}))) == {}
    theirs = peer.save({"b": torch.tensor([1.0, -2.5], dtype=torch.bfloat16), "ok": torch.tensor([True, False])})
    assert_same(read_safetensors(theirs), {"b": np.array([1, -2.5], np.float32), "ok": np.array([True, False])})
    loaded = read_safetensors(theirs)
    loaded["ok"][1] = True
    with pytest.raises(CheckpointError, match="'x' is of type F8_E5M2, which NumPy lacks; convert it to F32"):
        read_safetensors(peer.save({"x": torch.ones(1, dtype=torch.float8_e5m2)}))


@pytest.mark.parametrize(
    ("obj", "metadata", "message"),
    [
        ([np.ones(2)], None, "holds a dict of tensors, not a list"),
        ({"a": {"b": np.ones(2)}}, None, "holds tensors by name, not a dict at 'a'"),
        ({"a": 1.0}, None, "not a float at 'a'"),
        ({1: np.ones(2)}, None, "at 1"),
        ({"a": np.ones(2, complex)}, None, "has no complex128, the type of 'a'"),
        ({}, {"epoch": 3}, "metadata is text by name, not a int at 'epoch'"),
    ],
)
def test_what_safetensors_cannot_hold_is_refused(library: Any, obj: object, metadata: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        write_safetensors(obj, metadata)


def test_damaged_safetensors_are_refused(library: Any) -> None:
    data = write_safetensors({"a": np.ones(3), "ok": np.array([True])})
    for bad in (data[:-1], data[:20], data + b"x", b"\xff" * 7 + b"\0{", (2**40).to_bytes(8, "little") + b"{"):
        with pytest.raises(CheckpointError, match="the safetensors file is damaged"):
            read_safetensors(bad)
    for bad in (b"", b"\x05\0\0\0\0\0\0\0{x", b"\x02\0\0\0\0\0\0\0[]", b'\x13\0\0\0\0\0\0\0{"__metadata__":[1]}'):
        with pytest.raises(CheckpointError, match="the safetensors header is damaged"):
            safetensors.read_metadata(io.BytesIO(bad))


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[fit\]'"):
        write_safetensors({})
    with pytest.raises(ImportError, match=r"pip install 'pullback\[fit\]'"):
        read_safetensors(b"")

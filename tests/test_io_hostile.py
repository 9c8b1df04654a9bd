"""Checkpoints from someone who means harm, or from a bad disk: refused, with nothing in them run."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from io_tools import FOUR, archive_of, program, read, storage_ops, tensor_ops, write
from pullback.io import CheckpointError
from pullback.io.pickling import bool_ops, call_ops, execute, int_ops, name_ops, str_ops, tuple_ops

# -- hostile pickles -------------------------------------------------------------------------------------------------


class Net:
    """Stands for a class of the file's author."""


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, *reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


class Evil:
    def __setstate__(self, state: Any) -> None:
        raise AssertionError("was run")


GOOD = write({"w": np.arange(40.0), "v": [np.ones(3, np.int8), "text"], "n": 3})


def refused(data: bytes) -> str:
    with pytest.raises(pickle.UnpicklingError) as caught:
        read(data)
    assert type(caught.value) is CheckpointError
    return str(caught.value)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open({!r}, 'w')",), "eval"),
        (exec, ("open({!r}, 'w')",), "exec"),
        (getattr, (1, "real"), "getattr"),
        (__import__, ("antigravity",), "__import__"),
        (subprocess.Popen, ("{}",), "Popen"),
        (open, ("{}", "w"), "open"),
        (np.load, ("{}",), "load"),
        (type, ("X", (), {}), "type"),
    ],
)
def test_calls_are_refused_and_not_made(tmp_path: Path, protocol: int, function: Any, args: Any, name: str) -> None:
    trace = tmp_path / "trace"
    filled = tuple(arg.format(trace) if isinstance(arg, str) else arg for arg in args)
    text = pickle.dumps(Reduced(function, filled), protocol)
    message = refused(archive_of(text))
    assert name in message or protocol < 2
    assert "nothing in it was run" in message
    assert not trace.exists()


def test_names_are_not_even_imported() -> None:
    assert "antigravity" not in sys.modules
    for text in (b"cantigravity\nx\n.", pickle.dumps(Reduced(getattr, (1, "real")))):
        refused(archive_of(text))
    refused(archive_of(program(str_ops("antigravity"), str_ops("x"), pickle.STACK_GLOBAL)))
    assert "antigravity" not in sys.modules


SETSTATE = pickle.dumps(Evil(), 2)
OD = call_ops("collections.OrderedDict")
REBUILD = "torch._utils._rebuild_tensor_v2"
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        # an object made and filled in
        (pickle.dumps(Reduced(Net, ()), 2)[2:-1], "the name 'test_io_hostile.Net'.*save its state_dict"),
        (SETSTATE[2:-1], "the name 'test_io_hostile.Evil'"),
        (name_ops("torch.nn.modules.linear.Linear") + tuple_ops() + pickle.NEWOBJ, "save its state_dict"),
        (name_ops("torch.Tensor") + tuple_ops() + pickle.NEWOBJ, "instruction NEWOBJ"),
        (name_ops("torch.Tensor") + tuple_ops() + pickle.REDUCE, "a call of the name 'torch.Tensor'"),
        (name_ops("collections.OrderedDict") + tuple_ops() + pickle.NEWOBJ, "instruction NEWOBJ"),
        # attributes set on what is allowed
        (OD + pickle.EMPTY_DICT + str_ops("__class__") + pickle.NONE + pickle.SETITEM + pickle.BUILD, "attributes of"),
        (OD + pickle.EMPTY_DICT + str_ops("items") + pickle.NONE + pickle.SETITEM + pickle.BUILD, "attributes of"),
        (OD + tuple_ops(pickle.NONE, pickle.EMPTY_DICT) + pickle.BUILD, "attributes of its own"),
        (name_ops(REBUILD) + pickle.EMPTY_DICT + pickle.BUILD, "a OrderedDict was expected, not a Function"),
        (pickle.EMPTY_LIST + pickle.EMPTY_DICT + pickle.BUILD, "a OrderedDict was expected, not a list"),
        (tensor_ops() + tuple_ops(int_ops(1)) + pickle.BUILD, "a OrderedDict was expected, not a ndarray"),
        # calls of what is no function, or with what it does not take
        (str_ops("x") + tuple_ops() + pickle.REDUCE, "a call of str"),
        (name_ops("torch.FloatStorage") + tuple_ops() + pickle.REDUCE, "a call of a type of storage"),
        (name_ops("torch.float32") + tuple_ops() + pickle.REDUCE, "a call of DType"),
        (name_ops(REBUILD) + int_ops(1) + pickle.REDUCE, "a call of"),
        (call_ops(REBUILD), "arguments it does not take"),
        (call_ops(REBUILD, call_ops(REBUILD, storage_ops())), "arguments it does not take"),
        (tensor_ops(storage=tensor_ops()), "arguments it does not take"),
        (tensor_ops(storage=str_ops("x")), "arguments it does not take"),
        (call_ops("torch._utils._rebuild_parameter", pickle.NONE, bool_ops(True), OD), "arguments it does not take"),
        (call_ops("torch._utils._rebuild_parameter", tensor_ops()), "arguments it does not take"),
        (call_ops(FROM_TYPE, name_ops("torch.Tensor"), name_ops("torch.Tensor"), tuple_ops(), pickle.NONE),
         "arguments it does not take"),
        (name_ops(FROM_TYPE) + (pickle.MARK + name_ops(FROM_TYPE) + name_ops("torch.Tensor")) * 5000 + tuple_ops()
         + (pickle.NONE + pickle.TUPLE) * 5000 + pickle.REDUCE, "arguments it does not take"),
        (call_ops("builtins.bytearray", int_ops(2**40)), "arguments it does not take"),
        (call_ops("builtins.bytes", int_ops(2**40)), "arguments it does not take"),
        (call_ops("builtins.set", str_ops("x")), "arguments it does not take"),
        (call_ops("builtins.complex", str_ops("1")), "arguments it does not take"),
        (call_ops("_codecs.encode", str_ops("x"), str_ops("zlib_codec")), "arguments it does not take"),
        (call_ops("_codecs.encode", str_ops("\u20ac"), str_ops("latin1")), "arguments it does not take"),
        (call_ops("collections.OrderedDict", pickle.EMPTY_LIST), "arguments it does not take"),
        (call_ops("collections.Counter", str_ops("abc")), "arguments it does not take"),
        (call_ops("torch.Size", str_ops("abc")), "arguments it does not take"),
        (call_ops("torch.Size", tuple_ops(str_ops("a"))), "arguments it does not take"),
        (call_ops("torch.device", int_ops(1)), "arguments it does not take"),
        # tensors of other kinds, and pieces of tensors
        (call_ops("torch._utils._rebuild_sparse_tensor"), r"\.to_dense\(\)"),
        (call_ops("torch._utils._rebuild_qtensor"), r"\.dequantize\(\)"),
        (name_ops("torch.float8_e5m2"), r"cast to a dtype pullback has"),
        (name_ops("torch.QInt8Storage"), r"cast to a dtype pullback has"),
        (name_ops("numpy._core.multiarray._reconstruct"), r"\.tolist\(\)"),
        (name_ops("collections.defaultdict"), "do not trust it"),
        (name_ops("os.system"), "do not trust it"),
        (storage_ops(), "a storage without its tensor"),
        (pickle.EMPTY_LIST + storage_ops() + pickle.APPEND, "a storage without its tensor"),
        (pickle.EMPTY_DICT + int_ops(1) + name_ops(REBUILD) + pickle.SETITEM, "the name 'torch._utils"),
        (tuple_ops(tuple_ops(storage_ops())), "an argument list"),
        (name_ops("torch.FloatStorage"), "a type of storage"),
        (str_ops("storage") + pickle.BINPERSID, "a persistent id that names no storage"),
        (tuple_ops(str_ops("module"), name_ops("torch.FloatStorage"), str_ops("0"), str_ops("cpu"), int_ops(4))
         + pickle.BINPERSID, "a persistent id that names no storage"),
        (tensor_ops(last=pickle.EMPTY_DICT + str_ops("x") + pickle.NONE + pickle.SETITEM), "a tensor with metadata"),
        (tensor_ops(last=pickle.EMPTY_DICT + str_ops("conj") + pickle.EMPTY_LIST + pickle.SETITEM), "with metadata"),
        # numbers that point elsewhere
        (tensor_ops(offset=1), "outside its storage"),
        (tensor_ops(offset=4), "outside its storage"),
        (tensor_ops(size=(5,)), "outside its storage"),
        (tensor_ops(stride=(2,)), "outside its storage"),
        (tensor_ops(size=(2, 2), stride=(2**62, 1)), "outside its storage"),
        (tensor_ops(size=(2**40,)), "outside its storage"),
        (tensor_ops(offset=-1), "arguments it does not take"),
        (tensor_ops(size=(-1,)), "arguments it does not take"),
        (tensor_ops(stride=(-1,)), "arguments it does not take"),
        (tensor_ops(size=(2,), stride=(1, 1)), "arguments it does not take"),
        (tensor_ops(size=(2,), stride=(2**64,)), "arguments it does not take"),
        (tensor_ops(size=(2**40, 2**40), stride=(0, 0)), "an impossible shape"),
        (tensor_ops(size=(0, 2**62, 2**62), stride=(0, 0, 0)), "an impossible shape"),
        (tensor_ops(size=(1,) * 100, stride=(1,) * 100), "an impossible shape"),
        (tensor_ops(storage=storage_ops(count=5)), "16 bytes, too few for 5 of float32"),
        (tensor_ops(storage=storage_ops(count=-1)), "too few for -1"),
        (tensor_ops(storage=storage_ops(count=2**62)), "too few"),
        (tensor_ops(storage=storage_ops("torch.DoubleStorage")), "too few for 4 of float64"),
        (tensor_ops(storage=storage_ops(key="7")), "record 'data/7' is missing"),
        (tensor_ops(storage=storage_ops(key="../data.pkl")), "is missing"),
        (tensor_ops(storage=storage_ops("torch.LongStorage", count=2), size=(2,), grad=True), "does not take"),
        # keys that cannot be hashed, or take too long
        (pickle.EMPTY_DICT + pickle.EMPTY_LIST + pickle.NONE + pickle.SETITEM, "dict key or set element made of list"),
        (pickle.EMPTY_DICT + tensor_ops() + pickle.NONE + pickle.SETITEM, "made of ndarray"),
        (pickle.EMPTY_DICT + storage_ops() + pickle.NONE + pickle.SETITEM, "a storage without its tensor"),
        (pickle.EMPTY_DICT + tuple_ops() + b"".join(b"2\x86" for _ in range(80)) + pickle.NONE + pickle.SETITEM, "DUP"),
        (pickle.EMPTY_DICT + tuple_ops() + b"".join(b"q\0h\0\x86" for _ in range(80)) + pickle.NONE + pickle.SETITEM,
         "made of tuple"),
        # a stream that breaks the machine's own rules
        (pickle.APPEND, "a value is missing"),
        (pickle.TUPLE, "a value is missing"),
        (pickle.TUPLE2, "a value is missing"),
        (pickle.BINPUT + b"\0", "a value is missing"),
        (pickle.REDUCE, "a value is missing"),
        (b"", "a value is missing"),
        (pickle.BINGET + b"\5", "memo entry 5 was never stored"),
        (int_ops(1) + int_ops(2) + pickle.APPEND, "a list was expected, not a int"),
        (int_ops(1) + int_ops(2) + int_ops(2) + pickle.SETITEM, "a dict was expected, not a int"),
        (pickle.EMPTY_DICT + pickle.MARK + int_ops(2) + pickle.SETITEMS, "a key without a value"),
        (int_ops(1) + int_ops(2) + pickle.STACK_GLOBAL, "a global name that is no string"),
        (pickle.LONG_BINPUT + b"\xff\xff\xff\xff", "a value is missing"),
        (b"\xfe", "damaged"),
        (pickle.BINUNICODE + b"\xff\xff\xff\x7f", "damaged"),
        (pickle.BINUNICODE8 + b"\xff" * 8, "damaged"),
        (pickle.BINUNICODE + b"\x01\0\0\0\xff", "damaged"),
        (pickle.EXT1 + b"\1", "instruction EXT1"),
        (pickle.INST + b"os\nsystem\n", "instruction INST"),
        (pickle.PERSID + b"x\n", "instruction PERSID"),
        (pickle.NEXT_BUFFER, "instruction NEXT_BUFFER"),
    ],
)  # fmt: skip
def test_a_hostile_pickle_is_refused(ops: bytes, message: str) -> None:
    found = refused(archive_of(program(ops), FOUR))
    assert re.search(message, found), found


def test_a_huge_memo_index_costs_nothing() -> None:
    text = program(int_ops(7), pickle.LONG_BINPUT, b"\xff\xff\xff\xff", pickle.LONG_BINGET, b"\xff\xff\xff\xff")
    assert execute(text[:-1] + pickle.TUPLE2 + pickle.STOP, lambda _: None, lambda _: None) == (7, 7)


def test_expanded_views_cost_no_memory() -> None:
    for last in (b"", pickle.EMPTY_DICT + str_ops("neg") + bool_ops(True) + pickle.SETITEM):
        loaded = read(archive_of(program(tensor_ops(size=(2**20, 2**20), stride=(0, 0), last=last)), FOUR))
        assert loaded.shape == (2**20, 2**20)


def test_a_name_with_control_characters_is_shown_escaped_and_cut() -> None:
    found = refused(archive_of(program(pickle.GLOBAL, b"a\x1b[2J" + b"b" * 5000 + b"\nc\n")))
    assert "\x1b" not in found
    assert len(found) < 600


# -- damaged and hostile archives ------------------------------------------------------------------------------------


def test_a_file_cut_short_anywhere_is_refused() -> None:
    for end in range(0, len(GOOD), 7):
        assert "damaged" in refused(GOOD[:end]) or end == 0


def test_flipped_bytes_never_do_worse_than_an_error() -> None:
    rng = random.Random(0)
    whole = repr(read(GOOD))
    for _ in range(3000):
        data = bytearray(GOOD)
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(len(data))] = rng.choice([0, 255, rng.randrange(256)])
        with contextlib.suppress(CheckpointError):
            assert repr(read(bytes(data))) == whole  # what was flipped holds nothing


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([bytes([code]) for code in range(256)]), st.binary(max_size=4)), max_size=30))
def test_random_pickles_never_do_worse_than_an_error(parts: list[bytes]) -> None:
    with contextlib.suppress(CheckpointError):
        read(archive_of(program(*parts), FOUR))


OPS = [tensor_ops(), storage_ops(), OD, str_ops("a"), int_ops(3), name_ops(REBUILD), tuple_ops(), pickle.BINGET + b"\0"]
OPS += (
    pickle.NONE, pickle.MARK, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST,
    pickle.APPEND, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.EMPTY_SET, pickle.ADDITEMS,
    pickle.FROZENSET, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID, pickle.STACK_GLOBAL, pickle.MEMOIZE,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(OPS), max_size=25))
def test_random_instructions_never_do_worse_than_an_error(parts: list[bytes]) -> None:
    with contextlib.suppress(CheckpointError):
        read(archive_of(program(*parts), FOUR))


def patched(data: bytes, record: str, **fields: int) -> bytes:
    """`data` with fields of a record's entry in the zip directory overwritten."""
    at = data.rindex(b"archive/" + record.encode()) - 46
    assert data[at : at + 4] == b"PK\1\2"
    offsets = {
        "flags": (8, "<H"),
        "method": (10, "<H"),
        "crc": (16, "<I"),
        "stored": (20, "<I"),
        "size": (24, "<I"),
        "at": (42, "<I"),
    }
    changed = bytearray(data)
    for field, value in fields.items():
        offset, form = offsets[field]
        struct.pack_into(form, changed, at + offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (patched(GOOD, "data/0", size=2**31), "more of them than the file can hold"),
        (patched(GOOD, "data/0", size=2**31, stored=2**31), "more of them than the file can hold"),
        (patched(GOOD, "data/0", size=321), "checksum"),
        (patched(GOOD, "data/0", at=3), "not where the directory says"),
        (patched(GOOD, "data/0", at=2**31), "past its end"),
        (patched(GOOD, "data.pkl", crc=1), "checksum"),
        (patched(GOOD, "data/1", flags=1), "compressed or encrypted"),
        (patched(GOOD, "data/1", method=8), "compressed or encrypted"),
        (archive_of(b"", compression=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (archive_of(program(pickle.NONE), byteorder=b"middle"), "neither little nor big"),
        (archive_of(program(pickle.NONE), **{"constants.pkl": b""}), "TorchScript"),
        (archive_of(b""), "damaged"),
        (GOOD.replace(b"data.pkl", b"data.pkx"), "has no data.pkl"),
        (GOOD.replace(b"archive/data/1", b"archive/data/0"), "lists records twice"),
    ],
)
def test_a_hostile_archive_is_refused(data: bytes, message: str) -> None:
    assert message in refused(data)


def test_many_records_on_the_same_bytes_are_refused() -> None:
    storages = [np.zeros(1000, np.uint8) for _ in range(20)]
    data = write(storages)
    for key in range(1, 20):
        first = data.index(b"PK\3\4", data.index(b"byteorder"))
        data = patched(data, f"data/{key}", at=first, size=60_000, stored=60_000)
    assert "more of them than the file can hold" in refused(data)

"""`save` and `load`: formats told apart, Tensors in and out, and files replaced whole or not at all."""

from __future__ import annotations

import io
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from io_tools import TYPED, UNTYPED, sample, write
from pullback.io import CheckpointError, files, load, load_metadata, save
from pullback.values.dtype import DTYPES


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("safetensors")


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.pth.tar", "a.ckpt", "pytorch_model.bin", "A.PTH"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_with_a_suffix_of_pytorch_is_in_its_format(torch: Any, tmp_path: Path, name: str, kind: Any) -> None:
    save({"w": pb.tensor([1.0, 2.0]), "n": 3}, kind(tmp_path / name))
    assert torch.load(tmp_path / name, weights_only=True)["w"].tolist() == [1, 2]
    loaded = load(kind(tmp_path / name), map_location="cpu", weights_only=True)
    assert (loaded["w"].tolist(), loaded["n"], type(loaded["w"])) == ([1, 2], 3, pb.Tensor)
    assert load_metadata(tmp_path / name) == {}


def test_safetensors_by_suffix_and_by_content(library: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save({"w": pb.tensor([1.0, 2.0], requires_grad=True)}, path, metadata={"by": "me"})
    misnamed = path.rename(tmp_path / "a.pth")
    assert load(misnamed)["w"].tolist() == [1, 2]
    assert not load(misnamed)["w"].requires_grad
    assert load_metadata(misnamed) == {"by": "me"}
    with misnamed.open("rb") as stream:
        assert load(stream)["w"].tolist() == [1, 2]


def test_file_objects(torch: Any, tmp_path: Path) -> None:
    stream = io.BytesIO()
    save([pb.ones(2)], stream)
    assert load(stream)[0].tolist() == [1, 1]
    stream.seek(0)
    assert torch.load(stream, weights_only=True)[0].tolist() == [1, 1]
    (tmp_path / "a.pth").write_bytes(stream.getvalue())
    with subprocess.Popen([sys.executable, "-c", PRINT, tmp_path / "a.pth"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert load(child.stdout)[0].tolist() == [1, 1]


PRINT = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


def test_a_file_object_is_not_written_to_when_saving_fails() -> None:
    stream = io.BytesIO(b"old")
    with pytest.raises(TypeError, match="cannot save"):
        save([pb.ones(2), len], stream)
    assert stream.getvalue() == b"old"


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the suffix of '.*x\.npz' does not tell.* use one of \.safetensors, \.pth"):
        save({}, tmp_path / "x.npz")
    with pytest.raises(TypeError, match="takes a path or a binary file as f, not a dict"):
        save("x.pth", {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a path or a binary file, not a dict"):
        load({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"metadata is for \.safetensors files"):
        save({}, tmp_path / "x.pth", metadata={"a": "b"})
    with pytest.raises(TypeError, match=r"numpy.ndarray at obj\['x'\]; make it a tensor"):
        save({"x": np.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no directory '.*missing'; make it"):
        save({}, tmp_path / "missing" / "x.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a directory"):
        save({}, tmp_path / "folder.pth")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.pth")
    assert os.listdir(tmp_path) == ["folder.pth"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; restore it"),
        (pickle.dumps({"a": 1}), "a bare pickle, or PyTorch's format from before 1.6; load it in PyTorch"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer .* run git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "another library's format; save it as .safetensors there"),
        (b"<!DOCTYPE html>", r"it begins with b'<!DOCTYP', and neither"),
        (write([np.ones(3)])[:-9], "the checkpoint is damaged: its zip directory cannot be read"),
        (write([1]).replace(b"K\1e", b"K\2e"), "the checkpoint is damaged: its record 'data.pkl' fails its checksum"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"cannot load '.*model\.pth': .*{message}"):
        load(path)
    with pytest.raises(CheckpointError, match=f"cannot load 'BytesIO': .*{message}"):
        load(io.BytesIO(content))


def test_the_format_of_old_pytorch_is_refused_with_advice(torch: Any, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"from before 1\.6; load it in PyTorch and torch\.save it again"):
        load(tmp_path / "old.pth")


class Interrupted(BaseException):
    pass


def interrupt(*_: Any, **__: Any) -> Any:
    raise Interrupted


MOMENTS = ("os.fsync", "os.replace", "os.chmod", "to_leaf")


@pytest.mark.parametrize(
    ("moment", "suffix"),
    [(moment, suffix) for moment in MOMENTS for suffix in (".pth", ".safetensors")]
    + [("zipfile.ZipFile.open", ".pth")],
)
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    save({"w": pb.ones(2)}, path)
    old = path.read_bytes()
    monkeypatch.setattr("pullback.io.files._to_leaf" if moment == "to_leaf" else moment, interrupt)
    with pytest.raises(Interrupted):
        save({"w": pb.zeros(2)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


KILLED = """
    import os, signal, sys, zipfile
    import pullback as pb
    from pullback.io import save

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    moments = {"middle": (zipfile.ZipFile, "close"), "fsync": (os, "fsync"), "replace": (os, "replace")}
    setattr(*moments[sys.argv[2]], die)
    save({"w": pb.zeros(100_000)}, sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["middle", "fsync", "replace"])
def test_a_save_that_is_killed_leaves_the_old_file_whole(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "model.pth"
    save({"w": pb.ones(3)}, path)
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), path, moment], check=False)
    assert child.returncode == -signal.SIGKILL
    assert load(path)["w"].tolist() == [1, 1, 1]


SAVING = """
    import itertools, sys
    import pullback as pb
    from pullback.io import save

    for n in itertools.count():
        save({"n": n, "w": pb.full((500_000,), float(n))}, sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_save_that_is_killed_at_any_moment_leaves_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    rng = random.Random(0)
    for _ in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(SAVING), path]) as child:
            while not path.exists():
                assert child.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
            child.kill()
        loaded = load(path)
        assert (loaded["w"] == loaded["n"]).all()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_permissions_are_those_of_the_old_file_or_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    seen = []
    monkeypatch.setattr("os.fsync", lambda fd: seen.append(stat.S_IMODE(os.fstat(fd).st_mode)))
    before = os.umask(0o027)
    try:
        save({}, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o666):
            path.chmod(mode)
            seen.clear()
            save({}, path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert seen[0] & ~mode == 0
    finally:
        os.umask(before)


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    save({"n": 1}, path)
    monkeypatch.setattr("os.access", lambda *_: False)  # as it is for every user but root
    with pytest.raises(PermissionError, match="it is read-only; allow writing to it or name another"):
        save({"n": 2}, path)
    assert load(path) == {"n": 1}


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    link = tmp_path / "latest.pth"
    link.symlink_to(tmp_path / "runs" / "1.pth")
    for n in range(2):
        save({"n": n}, link)
    assert link.is_symlink()
    assert load(tmp_path / "runs" / "1.pth") == {"n": 1}
    assert os.listdir(tmp_path / "runs") == ["1.pth"]


# -- Tensors ---------------------------------------------------------------------------------------------------------


class Parameter(pb.Tensor):
    _is_parameter = True


def parameter(tensor: pb.Tensor, requires_grad: bool) -> Parameter:
    made = Parameter.__new__(Parameter)
    made._value = tensor._value
    made.requires_grad_(requires_grad)
    return made


def again(obj: Any) -> Any:
    stream = io.BytesIO()
    save(obj, stream)
    return load(stream)


def test_tensors_keep_what_they_are() -> None:
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    loaded = again({"leaf": x, "result": x * 2, "plain": x.detach(), "zero_dim": (x * x).sum(), "int": pb.tensor(3)})
    assert [t.requires_grad for t in loaded.values()] == [True, True, False, True, False]
    assert all(t.is_leaf for t in loaded.values())
    assert [t.tolist() for t in loaded.values()] == [[1, 2], [2, 4], [1, 2], 5, 3]
    assert [t.dtype for t in loaded.values()] == [pb.float32] * 4 + [pb.int64]
    (loaded["leaf"] * 3).sum().backward()
    assert loaded["leaf"].grad.tolist() == [3, 3]


@pytest.mark.parametrize("dtype", TYPED + UNTYPED)
def test_every_dtype_of_tensors_comes_back(dtype: str) -> None:
    loaded = again(pb.tensor(sample(dtype)))
    assert loaded.dtype == DTYPES[dtype]
    assert np.array_equal(loaded.numpy(), sample(dtype))


def test_tensors_that_share_memory_still_do() -> None:
    base = pb.arange(6.0)
    loaded = again([base, base[2:], base.reshape(2, 3).T, base])
    loaded[0][2] = 20
    assert loaded[1][0] == 20
    assert loaded[2][2, 0] == 20
    assert loaded[3] is loaded[0]


def test_parameters_go_both_ways(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    save([parameter(pb.ones(2), True), parameter(pb.ones(2), False)], path)
    back = torch.load(path, weights_only=True)
    assert [(type(p), p.requires_grad) for p in back] == [(torch.nn.Parameter, True), (torch.nn.Parameter, False)]

    monkeypatch.setattr(files, "_make_parameter", None)
    assert [(type(p), p.requires_grad) for p in load(path)] == [(pb.Tensor, True), (pb.Tensor, False)]
    files.set_parameter_type(parameter)
    assert [(type(p), p.requires_grad) for p in load(path)] == [(Parameter, True), (Parameter, False)]

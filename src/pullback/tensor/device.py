"""Where a tensor lives. There is one device, the CPU; this says so to programs that ask or name another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

__all__ = ["backends", "check_device", "cuda", "device"]

_OTHERS = frozenset("cuda mps xpu hip xla meta hpu mtia ipu vulkan opencl lazy".split())


class device:
    """A device by name: `device("cpu")`, the only one there is.

    Raises `RuntimeError` for a name that is no device's. A device that exists elsewhere can be named, but no tensor be
    put on it.

    >>> device("cpu")
    device(type='cpu')
    """

    __slots__ = ("index", "type")

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = str(type), None
        name, colon, number = str(type).partition(":")
        if (name != "cpu" and name not in _OTHERS) or (colon and not number.isdigit()):
            raise RuntimeError(
                f"Expected one of cpu, {', '.join(sorted(_OTHERS))} device type at start of device string: {type}"
            )
        self.type = name
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return device, (str(self),)


def check_device(wanted: Any) -> None:
    """Raise `RuntimeError` unless `wanted` is None or the CPU."""
    if wanted is not None and wanted != "cpu" and (found := device(wanted)).type != "cpu":
        raise RuntimeError(
            f'no device {str(found)!r} here: pullback computes on the CPU. Leave `device` out, or write device="cpu".'
        )


class _Elsewhere:
    """A kind of device that is not here, for programs that ask before they choose one; seeding it does nothing."""

    @staticmethod
    def is_available() -> bool:
        return False

    @staticmethod
    def device_count() -> int:
        return 0

    @staticmethod
    def manual_seed(seed: int) -> None:
        """Nothing: there is no generator to seed."""

    manual_seed_all = manual_seed


cuda = _Elsewhere()
backends = SimpleNamespace(cuda=cuda, mps=_Elsewhere())

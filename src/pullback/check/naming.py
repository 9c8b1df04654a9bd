"""What the names in a backward say: which forward value each should be the cotangent of."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["bases", "canonical"]

_LOSS: Final = r"(?:L|J|E|C|l|loss|cost|err|obj|out|f)"
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"d_?{_LOSS}_?_?(?:d|by|over|wrt)_?(?P<base>.+)",  # dL_dz1, dLdz, dloss_by_dz
        r"(?:d|g|D|∂)_?(?P<base>.+)",  # dz1, d_z1, gz
        r"(?:grads?|gradients?|delta|bar|adj|ct|cot|cotangent|nabla|partial|derr|der|deriv)_?(?P<base>.+)",
        r"(?P<base>.+?)_?(?:grads?|gradients?|bar|adj|ct|cot|cotangent|delta|g|d|dot|tangent)",
    )
)
_CONTAINERS: Final = re.compile(r"(?:.*_)?(?:grads?|gradients?|d|dparams|g|deltas?|gparams|cotangents?)(?:_.*)?")
_CARRIED: Final = re.compile(r"_?(?:next|prev|new|acc|total|sum|t|i)$|^(?:next|prev)_?")
_PARTS: Final = re.compile(r"[^\W\d]\w*|\d+")


def _parts(path: str) -> list[str]:
    return _PARTS.findall(path)


def canonical(path: str) -> str:
    """The name of a place without what is only a way of writing: `self.cache['z_1']` and `z1` are both `z1`."""
    words = _parts(path)
    if not words:
        return ""
    tail = [words.pop()]
    while tail[0].isdigit() and words:
        tail.insert(0, words.pop())
    return "".join(tail).replace("_", "")


def bases(path: str, carried: bool = False) -> list[str]:
    """The canonical names of the values that a place in a backward may be the cotangent of, the likeliest first; with
    `carried`, also for names such as `dh_next` and `dW_total`, which may be less than that.
    """
    if not re.fullmatch(r"[\w.\[\]'\"]+", path):
        return []
    words = _parts(path)
    if not words:
        return []
    name = words[-1]
    number = ""
    while name.isdigit() and len(words) > 1:
        number = name + number
        words.pop()
        name = words[-1]
    found: list[str] = []
    if name in ("grad", "gradient") and len(words) > 1:  # layer.W.grad
        found.append(words[-2] + number)
    if len(words) > 1 and any(_CONTAINERS.fullmatch(word) for word in words[:-1]):  # grads["W1"]
        found.append(name + number)
    for pattern in _PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            found.append(match["base"] + number)
    if re.fullmatch(r"delta_?\d*", name):
        found += [letter + name.removeprefix("delta").strip("_") + number for letter in "za"]
    for base in list(found) if carried else ():
        shorter = _CARRIED.sub("", base)
        if shorter and shorter != base:
            found.append(shorter)
    return list(dict.fromkeys(base.replace("_", "") for base in found if base.strip("_")))

"""A progress bar for loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["progress"]


def progress(
    iterable: Iterable[Any] | None = None,
    description: str | None = None,
    *,
    total: int | None = None,
    quiet: bool | None = None,
    **options: Any,
) -> Any:
    """`iterable` with a tqdm bar on the terminal as it is gone through; `set_postfix(loss=...)` adds figures to the
    bar.

    `quiet` says whether to draw nothing: by default if standard error is no terminal. `total` is the number of items,
    if the iterable has no length; other options go to tqdm. Raises `ImportError` if tqdm is not installed.

    >>> sum(progress([1, 2, 3], quiet=True))
    6
    """
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress needs tqdm: install it with `pip install 'pullback[fit]'`") from None
    return tqdm(iterable, desc=description, total=total, disable=quiet, **options)

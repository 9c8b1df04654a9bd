"""TensorFlow: tensors, variables and functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from pullback.check.adapters import Own, Written, is_inexact
from pullback.transforms.tree import flatten

__all__ = ["ADAPTER"]


class _Adapter:
    name = "tensorflow"
    conjugates = False

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        import tensorflow as tf

        array = np.array(tf.convert_to_tensor(value).numpy())  # of IndexedSlices, the dense ones
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        import tensorflow as tf

        numbers = np.array(array.reshape(tuple(value.shape)))
        is_small = value.dtype == tf.bfloat16 and array.dtype == np.float32
        tensor = tf.constant(numbers, tf.bfloat16 if is_small else None)
        return tf.Variable(tensor) if isinstance(value, tf.Variable) else tensor

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        import tensorflow as tf

        return tf.constant(array)

    def double(self) -> Any:
        return nullcontext()

    def owns(self, f: Any) -> bool:
        return type(f).__module__.partition(".")[0] in ("tensorflow", "keras")

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        return Own(f, tuple(args), self.vjp(f))

    def vjp(self, f: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        def autodiff(cotangent: Any, *args: Any) -> tuple[Any, ...]:
            leaves, tree = flatten(args)
            leaves = [tf.constant(x) if isinstance(x, np.ndarray | float | complex) else x for x in leaves]
            tracked = {i: x for i, x in enumerate(leaves) if is_inexact(x)}
            with tf.GradientTape() as tape:
                tape.watch(list(tracked.values()))
                outs = flatten(f(*tree.unflatten(leaves)))[0]
            pairs = [
                (y, tf.cast(g, y.dtype)) for y, g in zip(outs, flatten(cotangent)[0], strict=True) if is_inexact(y)
            ]
            ys, gs = map(list, zip(*pairs, strict=True))
            grads = tape.gradient(ys, list(tracked.values()), gs, unconnected_gradients="zero")
            found = dict(zip(tracked, grads, strict=True))
            return tree.unflatten([found.get(i) for i in range(len(leaves))])  # type: ignore[no-any-return]

        return autodiff

    def written(self, f: Any) -> Written | None:
        """The function under a `tf.custom_gradient`, which gives its result and its gradient function."""
        inner = getattr(f, "__wrapped__", None)
        if not callable(inner) or getattr(getattr(f, "_tf_decorator", None), "decorator_name", "") == "":
            return None

        def run(cotangent: Any, *args: Any) -> Any:
            _, grad = inner(*args)
            return grad(cotangent)

        return Written(getattr(inner, "__name__", "f"), inner, inner, run, whole=True)

    def stand_in(self, value: Any) -> Any:
        from pullback.check.adapters.tensorflow_names import stand_in

        return stand_in(value)


ADAPTER = _Adapter()

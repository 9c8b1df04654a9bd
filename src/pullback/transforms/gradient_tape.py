"""`GradientTape`, as TensorFlow has it, on the one tape.

Everything recorded while a tape is open is noted, and taken off the tape again when the last open one closes; each tape
keeps the places of what it recorded for its own `gradient()`. Which nodes are a tape's own is told by their numbers: a
tape is a list of spans of the one sequence of records.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pullback.tape.engine import explore, leading, walk
from pullback.tape.node import Edge, Handle, LeafMark, Node, edge_of, new_handle, next_number
from pullback.tape.state import enable_grad, modes
from pullback.tensor.dispatch import is_raw
from pullback.transforms.reverse import argument
from pullback.transforms.tree import flatten
from pullback.transforms.variable import ReadVariable, Variable
from pullback.transforms.vmap import vmap

__all__ = ["GradientTape"]


class Session:
    """What the open tapes of a thread share: the handles put on the tape since the first of them was opened."""

    def __init__(self) -> None:
        self.tapes: list[GradientTape] = []
        self.handles: list[weakref.ref[Any]] = []
        self.reads: dict[int, ReadVariable | None] = {}  # by Variable; forgotten when a tape opens, pauses or closes
        self._limit = 1024

    def note(self, handle: Any) -> None:
        handles = self.handles
        if len(handles) >= self._limit:
            handles[:] = [ref for ref in handles if ref() is not None]
            self._limit = max(1024, 2 * len(handles))
        handles.append(weakref.ref(handle))

    def live(self) -> Iterator[Any]:
        for ref in self.handles:
            handle = ref()
            if handle is not None and isinstance(handle._node, Node):
                yield handle

    def read(self, variable: Variable) -> ReadVariable | None:
        """The place on the tape of a Variable read now, None if no tape watches it."""
        key = id(variable)
        try:
            return self.reads[key]
        except KeyError:
            pass
        watching = [
            t for t in self.tapes if t.recording and ((t.watches_accessed and variable.trainable) or key in t.watched)
        ]
        for tape in watching:
            tape.watched.setdefault(key, (variable, variable))
        depths = {tape.depth for tape in watching}
        if len(depths) > 1:
            raise RuntimeError(
                f"{variable.name} is watched by tapes inside and outside of a transform; "
                "make the inner one with watch_accessed_variables=False"
            )
        self.reads[key] = place = ReadVariable(variable, depths.pop()) if depths else None
        return place

    def close(self) -> None:
        """Take off the tape what is there for the sake of the tapes alone, and leave what depends on anything else."""
        handles = list(self.live())
        nodes, _ = explore([handle._node for handle in handles], [])
        edges = (edge for node in nodes for edge in node.edges)
        # What a tape watched has lost its mark by now.
        kept = leading(nodes, [x for x in edges if isinstance(x, Handle) and type(x._node) is LeafMark])
        for handle in handles:
            if handle._node not in kept:
                handle._node = None


class GradientTape:
    """Records what is computed inside its `with` block from Variables and watched tensors, for `gradient()`.

    Trainable Variables are watched when they are used, unless `watch_accessed_variables` is False; other tensors by
    `watch()`. One `gradient()` can be asked of a tape, any number of a `persistent` one. What an outer tape sees of an
    inner one's `gradient()` it records too, so nesting gives higher derivatives.

    >>> import pullback as pb
    >>> x = pb.constant(3.0)
    >>> with pb.GradientTape() as outer:
    ...     outer.watch(x)
    ...     with pb.GradientTape() as inner:
    ...         inner.watch(x)
    ...         y = x**3
    ...     slope = inner.gradient(y, x)
    >>> slope, outer.gradient(slope, x)
    (tensor(27.), tensor(18.))
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self.persistent = persistent
        self.watches_accessed = watch_accessed_variables
        self.recording = False
        self.depth = 0
        self.watched: dict[int, tuple[Any, Edge]] = {}  # what is watched, and where its cotangents arrive
        self._marked: list[Any] = []  # handles that this tape put on the tape
        self._spans: list[list[float]] = []  # the records that are its own: [first, past the last)
        self._places: dict[int, tuple[weakref.ref[Any], Node]] = {}  # of results, once it is closed
        self._session: Session | None = None
        self._used = False

    def __enter__(self) -> GradientTape:
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        if self._session is not None:
            self._close()

    def _open(self) -> None:
        if self._session is not None:
            raise ValueError("Tape is still recording, This can happen if you try to re-enter an already-active tape.")
        session = modes.session
        if not isinstance(session, Session):
            modes.session = session = Session()
            modes.refresh()
        session.tapes.append(self)
        self._session = session
        self.depth = modes.depth
        self._resume()
        for ref, node in self._places.values():  # opened again: what it recorded is back on the tape
            handle = ref()
            if handle is not None and handle._node is None:
                handle._node = node
                session.note(handle)
        for x, _ in list(self.watched.values()):
            self.watch(x)

    def _resume(self) -> None:
        assert self._session is not None
        self._session.reads.clear()
        self.recording = True
        self._spans.append([next_number(), float("inf")])

    def _pause(self) -> None:
        assert self._session is not None
        self._session.reads.clear()
        self.recording = False
        self._spans[-1][1] = next_number()

    def _close(self) -> None:
        session = self._session
        assert session is not None
        if self.recording:
            self._pause()
        session.tapes.remove(self)
        self._session = None
        if self.persistent or not self._used:
            for handle in session.live():
                if self._is_own(handle._node):
                    self._places[id(handle)] = weakref.ref(handle), handle._node
        for handle in self._marked:
            if not any(id(handle) in tape.watched for tape in session.tapes):
                handle._node = None
        self._marked.clear()
        if not session.tapes:
            modes.session = None
            modes.refresh()
            session.close()

    def _is_own(self, place: Node | LeafMark) -> bool:
        """Whether a node was recorded, or the leaf of a transform made, while this tape was recording."""
        if isinstance(place, ReadVariable):
            return True
        number = place.seq if isinstance(place, Node) else place.since
        return any(start <= number < end for start, end in self._spans)

    def _is_differentiated(self, edge: Any) -> bool:
        """Whether an edge is the argument of a `pb.grad` or the like that this tape is inside of."""
        if isinstance(edge, Node):
            return edge.op is argument and not self._is_own(edge)
        place = edge._node
        return type(place) is LeafMark and place.since > 0 and not self._is_own(place)

    # What is watched

    def watch(self, tensor: Any) -> None:
        """Record what is computed from these tensors (a nested container of them) from now on.

        Raises `RuntimeError` if the tape is not recording, `ValueError` for what is not a Tensor; integers are not
        watched, with a warning.
        """
        if not self.recording:
            raise RuntimeError("a GradientTape watches tensors while it is recording, inside its `with` block")
        for x in flatten(tensor)[0]:
            if not isinstance(x, Handle):
                raise ValueError(
                    f"Passed in object {x!r} of type '{type(x).__name__}', not a Tensor or Variable; make one with "
                    "pb.constant"
                )
            if x._value.dtype.kind not in "fc":
                warnings.warn(
                    f"The dtype of the watched tensor must be floating, got {x._value.dtype}: it is not watched",
                    stacklevel=2,
                )
                continue
            if isinstance(x, Variable):
                self.watched[id(x)] = x, x
                assert self._session is not None
                self._session.reads.clear()
                continue
            if x._node is None:
                x._node = LeafMark(modes.depth, next_number())
                self._marked.append(x)
            elif x._node.level != modes.depth:
                raise RuntimeError("watch: this tensor is tracked outside of the transform that the tape is in")
            elif type(x._node) is LeafMark and any(id(x) in t.watched for t in self._session.tapes):  # type: ignore[union-attr]
                self._marked.append(x)  # whichever tape closes last takes the mark off
            self.watched[id(x)] = x, edge_of(x)

    def watched_variables(self) -> tuple[Variable, ...]:
        """The Variables it has watched so far, in the order in which they were first used."""
        return tuple(x for x, _ in self.watched.values() if isinstance(x, Variable))

    @contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Record nothing for the block.

        Raises `RuntimeError` if it is not recording.
        """
        if not self.recording:
            raise RuntimeError("Trying to stop recording a tape which is not recording.")
        self._pause()
        try:
            yield
        finally:
            self._resume()

    def reset(self) -> None:
        """Forget everything recorded and watched so far, and go on recording."""
        self.watched.clear()
        self._places.clear()
        self._spans.clear()
        self._used = False
        if self.recording:
            self._resume()

    # Derivatives

    def _edge(self, x: Any) -> Edge:
        """Where a tensor's cotangent goes on this tape, None if it is not on it."""
        watched = self.watched.get(id(x))
        if watched is not None:
            return watched[1]
        if not isinstance(x, Handle) or isinstance(x, Variable):
            return None
        ref, node = self._places.get(id(x), (None, None))
        if ref is not None and ref() is x:
            return node
        place = x._node
        if isinstance(place, Node):
            return place if self._is_own(place) else None
        is_parameter = (
            type(place) is LeafMark and not place.since
        )  # a leaf with requires_grad is watched as Variables are
        return x if is_parameter and self.watches_accessed else None

    def _begin(self, what: str) -> bool:
        """Check that a derivative can be asked for; tells whether it is recorded in turn."""
        if self._used and not self.persistent:
            raise RuntimeError(
                "A non-persistent GradientTape can only be used to compute one set of gradients (or jacobians)"
            )
        self._used = True
        if self.recording and not self.persistent:
            self._pause()
        session = modes.session
        return isinstance(session, Session) and modes.grad and any(tape.recording for tape in session.tapes)

    def _pull(
        self, targets: Sequence[Any], cotangents: Sequence[Any], sources: Sequence[Any], taped: bool
    ) -> list[Any]:
        """Handles of the sources' cotangents, None where nothing arrives."""
        goals = [self._edge(x) for x in sources]
        pairs = [(edge, t, g) for t, g in zip(targets, cotangents) if (edge := self._edge(t)) is not None]
        roots = [edge for edge, _, _ in pairs]
        wanted = [goal for goal in goals if goal is not None]
        nodes, differentiated = explore(roots, [], self._is_differentiated)
        needed = leading(filter(self._is_own, nodes), wanted)
        create = taped or differentiated or any(g._node is not None for _, _, g in pairs)
        lift = create or not all(is_raw(t) and is_raw(g) for _, t, g in pairs)
        gradients = [g if lift else g._value for _, _, g in pairs]
        with enable_grad():
            _, _, arrived = walk(roots, gradients, wanted, True, create, needed)
        found = iter(arrived)
        result: list[Any] = []
        for goal in goals:
            g = None if goal is None else next(found)
            if g is not None and not isinstance(g, Handle):
                g = new_handle(g.copy() if isinstance(g, np.ndarray) else g)
            result.append(g)
        return result

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "none",
    ) -> Any:
        """The gradient of `target` (of the sum of all elements of all targets) with respect to each of `sources`.

        Both are Tensors, Variables or nested containers of them; the result has the structure of `sources`, with None,
        or zeros if `unconnected_gradients` is "zero", for those that the target does not depend on. `output_gradients`
        are weights of the targets' shapes. Raises `RuntimeError` for a second call, unless the tape is persistent.
        """
        zero = _wants_zero(unconnected_gradients)
        taped = self._begin("gradient")
        targets = flatten(target)[0]
        weights = flatten(output_gradients)[0] if output_gradients is not None else [None] * len(targets)
        if len(weights) != len(targets):
            raise ValueError(f"{len(targets)} targets and {len(weights)} output_gradients were given")
        cotangents = [_ones_or(w, t) for w, t in zip(weights, targets, strict=True)]
        found, tree = flatten(sources)
        result = self._pull(targets, cotangents, found, taped)
        self._finish()
        return tree.unflatten([_zeros_like(x) if g is None and zero else g for x, g in zip(found, result, strict=True)])

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = "none",
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """The Jacobian of a tensor with respect to each of `sources`, of shape `target.shape + source.shape`.

        One backward pass, batched over the elements of the target. None or zeros, and raises, as `gradient`.
        """
        zero = _wants_zero(unconnected_gradients)
        taped = self._begin("jacobian")
        found, tree = flatten(sources)
        shape = tuple(target.shape)
        size = int(np.prod(shape))
        basis = np.eye(size, dtype=target._value.dtype).reshape(size, *shape)
        blocks = self._rows(target, found, basis, taped)
        self._finish()
        result = []
        for x, block in zip(found, blocks, strict=True):
            if block is not None:
                block = block.reshape((*shape, *x.shape))
            elif zero:
                block = new_handle(np.zeros((*shape, *x.shape), x._value.dtype))
            result.append(block)
        return tree.unflatten(result)

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: str = "none",
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """The Jacobian of each row of `target` with respect to the same row of `source`.

        For a target of shape (b, *m) and a source of shape (b, *n), each row of the target depending on its row of the
        source alone, the result has shape (b, *m, *n). None or zeros, and raises, as `gradient`; `ValueError` if the
        numbers of rows differ.
        """
        zero = _wants_zero(unconnected_gradients)
        rows = tuple(target.shape)[:1]
        if not rows or tuple(source.shape)[:1] != rows:
            raise ValueError(
                f"Need first dimension of target shape ({tuple(target.shape)}) and source shape "
                f"({tuple(source.shape)}) to match."
            )
        taped = self._begin("batch_jacobian")
        shape = tuple(target.shape)[1:]
        size = int(np.prod(shape))
        units = np.eye(size, dtype=target._value.dtype).reshape(size, 1, *shape)
        (block,) = self._rows(target, [source], np.broadcast_to(units, (size, *rows, *shape)), taped)
        self._finish()
        full = (*rows, *shape, *tuple(source.shape)[1:])
        if block is None:
            return new_handle(np.zeros(full, source._value.dtype)) if zero else None
        rank = len(block.shape)
        return block.permute((1, 0, *range(2, rank))).reshape(full)

    def _rows(self, target: Any, sources: list[Any], basis: Any, taped: bool) -> list[Any]:
        """For each source the cotangents that the cotangents `basis` of the target give, along axis 0."""
        missing: list[bool] = []

        def row(g: Any) -> list[Any]:
            found = self._pull([target], [g], sources, taped)
            missing[:] = [g is None for g in found]
            return [g for g in found if g is not None]

        found = iter(vmap(row)(new_handle(basis)))
        return [None if none else next(found) for none in missing]

    def _finish(self) -> None:
        if not self.persistent:
            self._places.clear()
            if self._session is None:
                self.watched = {key: entry for key, entry in self.watched.items() if isinstance(entry[0], Variable)}


def _wants_zero(unconnected_gradients: Any) -> bool:
    value = getattr(unconnected_gradients, "value", unconnected_gradients)
    if value not in ("none", "zero"):
        raise ValueError(f"Unknown value for unconnected_gradients: {unconnected_gradients!r}")
    return bool(value == "zero")


def _zeros_like(x: Any) -> Any:
    return new_handle(np.zeros(tuple(x.shape), x._value.dtype))


def _ones_or(weight: Any, target: Any) -> Any:
    """The cotangent of a target: its weight, or ones."""
    if not isinstance(target, Handle):
        raise TypeError(f"a target is a Tensor or a Variable, not {type(target).__name__}")
    dtype, shape = target._value.dtype, tuple(target.shape)
    if weight is None:
        return new_handle(np.ones(shape, dtype)[()])
    if isinstance(weight, Handle) and weight._value.dtype == dtype and tuple(weight.shape) == shape:
        return weight
    array = np.asarray(weight._value if isinstance(weight, Handle) else weight, dtype)
    if array.shape != shape:
        raise ValueError(f"output_gradients has shape {array.shape}, its target {shape}")
    return new_handle(array)

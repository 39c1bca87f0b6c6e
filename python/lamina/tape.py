"""The tape: which operations are recorded, and the walk back over them."""

import functools
import heapq
import inspect
import itertools
import threading
import types
from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from lamina.arrays import Array, apply, copy

if TYPE_CHECKING:
    from lamina.tensor import Tensor

Gradients = tuple[Array | None, ...]
Function = TypeVar("Function", bound=Callable[..., Any])


class _State(threading.local):
    recording = True


state = _State()
# Counts operations and changes of leaves, so that it tells which came first.
_clock = itertools.count(1)
_last_change = 0


class _Mode:
    """Sets whether operations record gradients, for a ``with`` block or a decorated function."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        self._before.append(state.recording)
        state.recording = self.mode
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        state.recording = self._before.pop()

    def __call__(self, function: Function) -> Function:
        """``function`` run inside this mode; a generator is so at each of its steps."""
        mode = self.mode
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                return _steps(mode, function(*args, **kwargs))

        else:

            @functools.wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with _Mode(mode):
                    return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


def _steps(mode: bool, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """What ``generator`` yields, with its own code, not the caller's, inside the mode."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            with _Mode(mode):
                value = step()
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
        except GeneratorExit:
            with _Mode(mode):
                generator.close()
            raise
        except BaseException as error:
            step = functools.partial(generator.throw, error)
        else:
            step = functools.partial(generator.send, sent)


class set_grad_enabled(_Mode):  # noqa: N801 - PyTorch's name
    """Whether operations record gradients: from here on, or inside the ``with`` block or function.

    As a statement of its own it holds until the next one.
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._outside: bool | None = state.recording
        state.recording = self.mode

    def __enter__(self) -> Self:
        # The block ends with what held before this object was made.
        if self._outside is not None:
            state.recording, self._outside = self._outside, None
        return super().__enter__()

    def __call__(self, function: Function) -> Function:
        """``function`` run inside this mode, which does not hold outside it."""
        if self._outside is not None:
            state.recording, self._outside = self._outside, None
        return super().__call__(function)


class no_grad(_Mode):  # noqa: N801 - PyTorch's name
    """No gradients are recorded inside the ``with`` block or the decorated function."""

    def __new__(cls, function: Any = None) -> Any:
        """Also a decorator without parentheses."""
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Mode):  # noqa: N801 - PyTorch's name
    """Gradients are recorded inside, even within :class:`no_grad`."""

    def __new__(cls, function: Any = None) -> Any:
        """Also a decorator without parentheses."""
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether operations record gradients now."""
    return state.recording


class Node:
    """One recorded operation: its inputs and the function from output to input gradients."""

    __slots__ = ("order", "outputs", "parents", "vjp")

    def __init__(
        self, parents: Sequence["Tensor | None"], vjp: Callable[..., Gradients], outputs: int
    ) -> None:
        self.parents: Sequence[Tensor | None] | None = parents
        self.vjp: Callable[..., Gradients] | None = vjp
        self.outputs = outputs
        self.order = next(_clock)


def mark_changed(tensors: "Iterable[Tensor]") -> None:
    """Note that the numbers of these tensors change in place, for graphs recorded before."""
    global _last_change
    now = next(_clock)
    for tensor in tensors:
        tensor._changed = now
    _last_change = now


def backward(root: "Tensor", dy: Array, retain_graph: bool) -> None:
    """Walk the nodes from the newest to the oldest, adding to the gradients of leaves."""
    heap: list[tuple[int, Node]] = []
    # Gradients that have arrived, by the order of their node. Kept here, not in the nodes: a walk
    # that fails leaves nothing behind for the next one.
    arrived: dict[int, list[Array | None]] = {}
    array_type = np.ndarray

    def give(tensor: "Tensor | None", grad: Array | None, taken: tuple[Array, ...]) -> None:
        if tensor is None or grad is None or not tensor.requires_grad:
            return
        if type(grad) is not array_type:
            grad = np.asarray(grad)
        if grad.shape != tensor.data.shape:
            raise RuntimeError(
                f"backward: a gradient has shape {grad.shape} for data of {tensor.data.shape}"
            )
        if grad.dtype != tensor.data.dtype:
            grad = grad.astype(tensor.data.dtype)
        node, index = tensor._node, tensor._index
        if node is None:
            if tensor.grad is not None:
                tensor.grad = apply(np.add, tensor.grad, grad)
            else:
                # What a leaf keeps must be its own: optimisers and clipping write to it.
                shared = any(_shares(grad, other) for other in taken)
                own = not shared and grad.flags.writeable
                tensor.grad = grad if own else copy(grad, grad.dtype)
            return
        order = node.order
        grads = arrived.get(order)
        if grads is None:
            grads = arrived[order] = [None] * node.outputs
            heapq.heappush(heap, (-order, node))
        before = grads[index]
        grads[index] = grad if before is None else apply(np.add, before, grad)

    give(root, dy, (dy,))
    while heap:
        _, node = heapq.heappop(heap)
        order = node.order
        grads = arrived.pop(order)
        vjp, parents = node.vjp, node.parents
        if vjp is None or parents is None:
            raise RuntimeError(
                "backward: the graph was already used and released; pass retain_graph=True before"
            )
        if order < _last_change:
            _check_unchanged(node, vjp, parents)
        given = vjp(*grads)
        if not retain_graph:
            node.vjp = node.parents = None
        taken = tuple([g for g in grads if g is not None])
        for parent, grad in zip(parents, given, strict=True):
            give(parent, grad, taken)
            if grad is not None:
                taken = (*taken, grad)


def _check_unchanged(
    node: Node, vjp: Callable[..., Gradients], parents: "Sequence[Tensor | None]"
) -> None:
    """Raise where ``vjp`` holds the data of an input that has changed since ``node`` was made."""
    for parent in parents:
        if parent is not None and _changed(parent, node.order) and _keeps(vjp, parent.data):
            raise RuntimeError(
                f"backward: a tensor of shape {parent.shape} that the gradient needs was changed "
                "in place, by an optimizer's step, load_state_dict or an assignment, after it was "
                "used; call backward before the change, or compute the loss again"
            )


def _changed(tensor: "Tensor", order: int) -> bool:
    """Whether the numbers of a tensor, or of one that it is a view of, are newer than ``order``."""
    if tensor._changed > order:
        return True
    node = tensor._node
    return any(
        parent is not None
        and np.may_share_memory(parent.data, tensor.data)
        and _changed(parent, order)
        for parent in (node.parents if node is not None else None) or ()
    )


def _shares(a: Array, b: Array) -> bool:
    return a is b or (a.base is not None and (a.base is b or a.base is b.base)) or b.base is a


# Kept values of these types hold no numbers of a tensor.
_PLAIN = (int, float, str, type, np.dtype, np.ufunc, types.BuiltinFunctionType, types.NoneType)


def _keeps(kept: Any, data: Array) -> bool:
    """Whether a function's closure, or another value in it, holds ``data``; if unsure, it does."""
    if isinstance(kept, np.ndarray):
        return np.may_share_memory(kept, data)
    if isinstance(kept, tuple | list):
        return any(_keeps(value, data) for value in kept)
    if isinstance(kept, types.FunctionType):
        inside = [cell.cell_contents for cell in kept.__closure__ or ()]
        inside += kept.__defaults__ or ()
        return any(_keeps(value, data) for value in inside if value is not kept)
    return not isinstance(kept, _PLAIN)

"""The tape: which operations are recorded, and the walk back over them."""

import functools
import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from lamina import _kernels

if TYPE_CHECKING:
    from lamina.tensor import Tensor

Array = npt.NDArray[Any]
Gradients = tuple[Array | None, ...]
Function = TypeVar("Function", bound=Callable[..., Any])


# Sums of at least this many numbers are worth a kernel on all threads.
_THREADED = 16_384
# Types that the kernels compute with.
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class _State(threading.local):
    recording = True


_state = _State()
_order = itertools.count()


class set_grad_enabled:  # noqa: N801 - PyTorch's name
    """Whether operations record gradients inside the ``with`` block or the decorated function."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        self._before.append(_state.recording)
        _state.recording = self.mode
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _state.recording = self._before.pop()

    def __call__(self, function: Function) -> Function:
        """``function`` run inside this mode."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.mode):
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(set_grad_enabled):  # noqa: N801 - PyTorch's name
    """No gradients are recorded inside the ``with`` block or the decorated function."""

    def __init__(self, mode: bool = False) -> None:
        super().__init__(mode)


class enable_grad(set_grad_enabled):  # noqa: N801 - PyTorch's name
    """Gradients are recorded inside, even within :class:`no_grad`."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__(mode)


def is_grad_enabled() -> bool:
    """Whether operations record gradients now."""
    return _state.recording


class Node:
    """One recorded operation: its inputs and the function from output to input gradients."""

    __slots__ = ("grads", "order", "outputs", "owned", "parents", "vjp")

    def __init__(
        self, parents: Sequence["Tensor | None"], vjp: Callable[..., Gradients], outputs: int
    ) -> None:
        self.parents: Sequence[Tensor | None] | None = parents
        self.vjp: Callable[..., Gradients] | None = vjp
        self.outputs = outputs
        self.order = next(_order)
        self.grads: list[Array | None] | None = None
        self.owned: list[bool] = []


def _add(a: Array, b: Array, in_place: bool) -> Array:
    if a.size >= _THREADED and a.dtype in FLOATS:
        return _kernels.arithmetic_add(a, b)
    return np.add(a, b, out=a) if in_place else a + b


def backward(root: "Tensor", dy: Array, retain_graph: bool) -> None:
    """Walk the nodes from the newest to the oldest, adding to the gradients of leaves."""
    heap: list[tuple[int, Node]] = []

    def give(tensor: "Tensor | None", grad: Array | None, taken: tuple[Array, ...]) -> None:
        if tensor is None or grad is None or not tensor.requires_grad:
            return
        if grad.shape != tensor.data.shape:
            raise RuntimeError(
                f"backward: a gradient has shape {grad.shape} for data of {tensor.data.shape}"
            )
        if grad.dtype != tensor.data.dtype:
            grad = grad.astype(tensor.data.dtype)
        node, index = tensor._node, tensor._index
        if node is None:
            if tensor.grad is not None:
                tensor.grad = _add(tensor.grad, grad, False)
            else:
                # What a leaf keeps must be its own: optimisers and clipping write to it.
                shared = any(_shares(grad, other) for other in taken)
                tensor.grad = grad.copy() if shared or not grad.flags.writeable else grad
            return
        if node.grads is None:
            node.grads = [None] * node.outputs
            node.owned = [False] * node.outputs
            heapq.heappush(heap, (-node.order, node))
        before = node.grads[index]
        if before is None:
            node.grads[index] = grad
        else:
            node.grads[index] = _add(before, grad, node.owned[index])
            node.owned[index] = True

    give(root, dy, (dy,))
    while heap:
        _, node = heapq.heappop(heap)
        grads, node.grads = node.grads, None
        vjp, parents = node.vjp, node.parents
        if vjp is None or parents is None or grads is None:
            raise RuntimeError(
                "backward: the graph was already used and released; pass retain_graph=True before"
            )
        given = vjp(*grads)
        if not retain_graph:
            node.vjp = node.parents = None
        taken = tuple(g for g in grads if g is not None)
        for parent, grad in zip(parents, given, strict=True):
            give(parent, grad, taken)
            if grad is not None:
                taken = (*taken, grad)


def _shares(a: Array, b: Array) -> bool:
    return a is b or (a.base is not None and (a.base is b or a.base is b.base)) or b.base is a

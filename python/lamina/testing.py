"""Checks for people who write operations of their own."""

from collections.abc import Callable

import numpy as np

from lamina.tensor import Array, Tensor


def check_grads(
    function: Callable[..., Tensor],
    *args: Tensor,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> None:
    """Compare the gradients of ``function(*args)`` with central differences, in float64.

    The output is weighted by fixed random numbers, so that one pass checks all of it. Differences
    are taken of each element of each argument that requires a gradient.

    Args:
        function: maps the tensors ``args`` to one tensor.
        args: float64 tensors.
        eps: half the step of the differences, relative to ``max(1, |x|)``.
        rtol: allowed error relative to the norm of the gradient.
        atol: allowed absolute error of its norm.

    Raises:
        AssertionError: a gradient is wrong or missing; the message says which, and by how much.
        TypeError: an argument is no tensor, or requires a gradient and is not float64; or
            ``function`` gave something else than one tensor.
    """
    for i, arg in enumerate(args):
        if not isinstance(arg, Tensor):
            raise TypeError(f"check_grads: args[{i}]: expected a Tensor, got {type(arg).__name__}")
        if arg.requires_grad and arg.data.dtype != np.float64:
            raise TypeError(f"check_grads: args[{i}]: expected float64, got {arg.data.dtype}")
        arg.grad = None
    out = function(*args)
    if not isinstance(out, Tensor):
        raise TypeError(f"check_grads: function: expected one Tensor, got {type(out).__name__}")
    weights = np.random.default_rng(0).standard_normal(out.data.shape)
    if not out.requires_grad:
        raise AssertionError("check_grads: the output does not require a gradient")
    out.backward(weights)
    for i, arg in enumerate(args):
        if not arg.requires_grad:
            continue
        if arg.grad is None:
            raise AssertionError(f"check_grads: args[{i}] got no gradient")
        expected = _differences(function, args, arg, weights, eps)
        error = float(np.linalg.norm(arg.grad - expected))
        allowed = rtol * float(np.linalg.norm(expected)) + atol
        if not error <= allowed:
            raise AssertionError(
                f"check_grads: args[{i}]: error {error:.3g} exceeds {allowed:.3g}\n"
                f"got {arg.grad}\nexpected {expected}"
            )


def _differences(
    function: Callable[..., Tensor],
    args: tuple[Tensor, ...],
    arg: Tensor,
    weights: Array,
    eps: float,
) -> Array:
    original = arg.data
    work = original.copy()
    arg.data = work
    slopes = np.empty_like(work)
    try:
        for index in np.ndindex(work.shape):
            x = work[index]
            step = eps * max(1.0, abs(float(x)))
            work[index] = x + step
            high = float((function(*args).data * weights).sum())
            work[index] = x - step
            low = float((function(*args).data * weights).sum())
            work[index] = x
            slopes[index] = (high - low) / (2 * step)
    finally:
        arg.data = original
    return slopes

"""Decoding: prolonging token ids by any function that scores the next token."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from lamina.generation.sampling import Sampler
from lamina.random import generator

Array = npt.NDArray[Any]

# Tokens that there is room for at first; the room doubles as they come.
_ROOM = 256

NextScores = Callable[[Array], Array]
"""Maps ids ``[N, L]`` to logits or log-probabilities ``[N, V]`` of the token that follows."""


class Step(Protocol):
    """A model seen one piece of the text at a time."""

    def __call__(self, ids: Array, state: Any, *, last_only: bool) -> tuple[Any, Any]:
        """Logits ``[N, 1, V]`` after new ids ``[N, L]``, and the state to go on from."""


class Incremental:
    """A :data:`NextScores` that shows a model every token once.

    It keeps the state of the model between calls: ids of one call must begin with those of the
    call before.

    Args:
        step: ``step`` of a model such as :class:`lamina.models.GPT`.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._state: Any = None
        self._seen = 0

    def __call__(self, ids: Array) -> Array:
        """Logits ``[N, V]`` of the token after ``ids`` ``[N, L]``."""
        logits, self._state = self._step(ids[:, self._seen :], self._state, last_only=True)
        self._seen = ids.shape[1]
        return np.asarray(logits)[:, -1]


class Options(TypedDict, total=False):
    """Keyword arguments of :func:`generate`, for functions that pass them on."""

    max_new_tokens: int
    do_sample: bool
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    eos_token_id: int | None
    pad_token_id: int | None
    rng: np.random.Generator | None
    seed: int | None


def stream(
    next_scores: NextScores,
    ids: npt.ArrayLike,
    *,
    max_new_tokens: int = 100,
    do_sample: bool = True,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    rng: np.random.Generator | None = None,
    seed: int | None = None,
) -> Iterator[Array]:
    """The tokens after ``ids``, one array ``[N]`` at a time, as they are chosen.

    Args:
        next_scores: maps ids ``[N, L]`` to logits or log-probabilities ``[N, V]``.
        ids: prompts ``[N, L]`` of one length, or a single one ``[L]``. ``L`` may be 0 where
            ``next_scores`` allows it.
        max_new_tokens: at most this many.
        do_sample: draw at random rather than take the best; see :class:`Sampler` for this and
            the next five options.
        temperature: see :class:`Sampler`.
        top_k: see :class:`Sampler`.
        top_p: see :class:`Sampler`.
        min_p: see :class:`Sampler`.
        repetition_penalty: see :class:`Sampler`.
        eos_token_id: the token that ends a row; all rows ended, generation stops.
        pad_token_id: what follows in an ended row while others go on; ``eos_token_id`` if not
            given.
        rng: source of the draws; without it, and without ``seed``, the library's generator.
        seed: makes the draws repeat, in place of ``rng``.

    Raises:
        ValueError: an option out of range, prompts of differing lengths, or scores without a
            finite maximum.
        TypeError: ids or numbers that must be integers are not.
    """
    sampler = Sampler(
        do_sample=do_sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    try:
        most = operator.index(max_new_tokens)
    except TypeError:
        raise TypeError(f"max_new_tokens: expected an integer, got {max_new_tokens!r}") from None
    if most < 0:
        raise ValueError(f"max_new_tokens: expected at least 0, got {most}")
    if seed is not None and rng is not None:
        raise ValueError("seed: expected either seed or rng, got both")
    source = generator(rng) if seed is None else np.random.default_rng(seed)
    prompts = _prompts(ids)
    pad = eos_token_id if pad_token_id is None else pad_token_id
    # A function around the loop, so that bad arguments are reported at the call.
    return _loop(next_scores, prompts, sampler, most, eos_token_id, pad, source)


def _loop(
    next_scores: NextScores,
    prompts: Array,
    sampler: Sampler,
    max_new_tokens: int,
    eos: int | None,
    pad: int | None,
    rng: np.random.Generator,
) -> Iterator[Array]:
    count, length = prompts.shape
    ids = np.empty((count, length + min(max_new_tokens, _ROOM)), np.int64)
    ids[:, :length] = prompts
    ended = np.zeros(count, bool)
    for end in range(length, length + max_new_tokens):
        if end == ids.shape[1]:
            ids = np.concatenate([ids, np.empty_like(ids)], axis=1)
        scores = next_scores(ids[:, :end])
        if scores.ndim != 2 or len(scores) != count or scores.shape[1] < 1:
            raise ValueError(f"next_scores: expected shape [{count}, V], got {scores.shape}")
        chosen = sampler(scores, ids[:, :end], rng)
        if eos is not None:
            chosen[ended] = pad
            ended |= chosen == eos
        ids[:, end] = chosen
        yield chosen
        if ended.all():
            return


def generate(
    next_scores: NextScores,
    ids: npt.ArrayLike,
    *,
    on_token: Callable[[Array], object] | None = None,
    **options: Unpack[Options],
) -> Array:
    """Prolong the prompts ``ids``.

    Args:
        next_scores: maps ids ``[N, L]`` to logits or log-probabilities ``[N, V]``.
        ids: prompts ``[N, L]`` of one length, or a single one ``[L]``.
        on_token: called with the new tokens ``[N]`` after each choice.
        options: those of :func:`stream`.

    Returns:
        The prompts with the new tokens, int64 ``[N, L']``, or ``[L']`` for a single prompt.
    """
    for name in options.keys() - Options.__annotations__.keys():
        raise TypeError(f"generate() got an unexpected keyword argument {name!r}")
    prompts = _prompts(ids)
    single = np.ndim(ids) == 1
    columns = []
    for chosen in stream(next_scores, prompts, **options):
        columns.append(chosen[:, None])
        if on_token is not None:
            on_token(chosen)
    result = np.concatenate([prompts, *columns], axis=1)
    return result[0] if single else result


def _prompts(ids: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(ids)
    except ValueError:
        lengths = [len(row) for row in ids]  # type: ignore[union-attr, arg-type]
        raise ValueError(f"ids: expected prompts of one length, got lengths {lengths}") from None
    if array.ndim not in (1, 2) or (array.ndim == 2 and len(array) == 0):
        raise ValueError(f"ids: expected shape [N, L] or [L], got {array.shape}")
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids: expected integers, got {array.dtype}")
    return np.atleast_2d(array).astype(np.int64)

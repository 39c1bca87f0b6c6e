"""Trains the families on one text, one after the other, and measures them alike."""

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina import bench, lm, text, train
from lamina.compare.entropy import TextEntropy, text_entropy
from lamina.compare.families import (
    DEFAULT,
    Family,
    check_tokenizer,
    fit_counts,
    fit_options,
    make_tokenizer,
    select,
)
from lamina.tensor import Array

# Held-out characters that a learning curve is measured on, and its points after the first.
CURVE_TEXT = 8_000
_CURVE_POINTS = 20
_SAMPLE_TOKENS = 160
_LEAST_TOKENS = 4 * 64
_SECONDS = 15.0
# Rounds and seconds of each kernel beside NumPy, at most.
_ROUNDS = 15
_KERNEL_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What came of one family.

    Attributes:
        family: its name; ``title`` to ``reach`` are as in :class:`Family`.
        parameters: numbers it has learnt.
        training_seconds: time spent learning, from ids: tokenizing and measuring come on top.
        training_tokens_per_second: tokens learnt from in a second of that.
        generation_tokens_per_second: tokens written a second, one text at a time.
        bytes_on_disk: size of its folder.
        tokens: held-out tokens predicted.
        perplexity: on the held-out part, a token; compares only between equal tokenizers.
        bits_per_byte: on the held-out part; compares between all.
        oov_mass: share of held-out tokens that are unknown.
        curve: seconds and bits per byte from before the first step to the end, all on the
            beginning of the held-out part; of what is no network the end alone.
        kernels: share of the training time in each family of kernels; ``python`` is the rest.
        sample: a text it wrote.
        normalized: whether it gives probabilities; scores that do not sum to one, as those of
            stupid back-off, make its perplexity and bits per byte look better than they are.
    """

    family: str
    title: str
    generation: str
    architecture: str
    learning: str
    application: str
    reach: str
    parameters: int
    training_seconds: float
    training_tokens_per_second: float
    generation_tokens_per_second: float
    bytes_on_disk: int
    tokens: int
    perplexity: float
    bits_per_byte: float
    oov_mass: float
    curve: list[tuple[float, float]]
    kernels: dict[str, float]
    sample: str
    normalized: bool = True


@dataclass(kw_only=True)
class Comparison:
    """All results on one text.

    Attributes:
        source: where the text is from.
        characters: its length; the last tenth is held out.
        tokenizer: name and number of tokens of the shared tokenizer.
        seconds: budget of each network, ``None`` where it is in steps alone.
        seed: of everything random.
        machine: where it ran.
        models: one for each family, in the order asked for.
        kernels: lamina's kernels beside NumPy's, measured in the same run.
        total_seconds: length of the whole comparison.
        tokenizing_seconds: time that tokenizers took to learn from the text and to cut it.
        held_out_characters: how many are held out.
        steps: budget of each network, ``None`` where it is in seconds.
        paths: files of the text as they were given; none for the one that comes with lamina.
        complete: whether it ended, rather than being interrupted.
        entropy: of the characters and words of the whole text, by how many before are known.
    """

    source: str
    characters: int
    tokenizer: str
    seconds: float | None
    seed: int
    machine: dict[str, Any]
    models: list[ModelResult] = field(default_factory=list)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    total_seconds: float = 0.0
    tokenizing_seconds: float = 0.0
    held_out_characters: int = 0
    steps: int | None = None
    paths: list[str] = field(default_factory=list)
    complete: bool = False
    entropy: list[TextEntropy] = field(default_factory=list)

    @property
    def budget(self) -> str:
        """What each network was given."""
        parts = [] if self.steps is None else [f"{self.steps:,} step{'s' * (self.steps != 1)}"]
        return " or ".join(parts + ([] if self.seconds is None else [f"{self.seconds:g} s"]))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """What happens now.

    Attributes:
        family: the model it is about, ``None`` where it is about all of them.
        stage: what is done.
        seconds: of training so far.
        bits_per_byte: by the learning curve, and in the end by all of the held-out part.
        result: there once the model is done.
        comparison: what is known of the whole, told before the first model.
    """

    family: Family | None
    stage: str
    seconds: float = 0.0
    bits_per_byte: float = math.nan
    result: ModelResult | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Prepared:
    """A text in two parts, and as ids of a tokenizer that learnt from the first.

    Attributes:
        training: the first nine tenths.
        held_out: the rest.
        tokenizer: shared by the models.
        ids: of ``training``.
        seconds: that the tokenizer took to learn and to cut the text.
    """

    training: str
    held_out: str
    tokenizer: text.Tokenizer
    ids: Array
    seconds: float


def check_length(source: str, content: str) -> None:
    """Refuse, before any work, a text that has too few tokens whatever they are.

    Raises:
        ValueError: it is so short; the message calls it ``source``.
    """
    # No token is shorter than a byte.
    if len(content) < 2 or len(text.split_text(content)[0].encode()) < _LEAST_TOKENS:
        raise ValueError(_too_few(source, content))


def _too_few(source: str, content: str) -> str:
    noun = "character is" if len(content) == 1 else "characters are"
    return f"{source}: {len(content):,} {noun} too few to train on and hold a tenth out"


def prepare(source: str, content: str, tokenizer: str) -> Prepared:
    """Split a text, and train the tokenizer that :func:`make_tokenizer` knows by that name.

    Raises:
        ValueError: there is no such tokenizer, or the text, called ``source``, is too short.
    """
    start = time.perf_counter()
    check_tokenizer(tokenizer)
    check_length(source, content)
    training, held_out = text.split_text(content)
    shared = make_tokenizer(tokenizer, training)
    ids = shared.encode(training)
    if len(ids) < _LEAST_TOKENS or len(shared.encode(held_out)) < 2:
        raise ValueError(
            f"{_too_few(source, content)}: expected {_LEAST_TOKENS} tokens, got {len(ids)}"
        )
    return Prepared(training, held_out, shared, ids, time.perf_counter() - start)


Listener = Callable[[Progress], None]


def compare(
    source: str = "tiny Shakespeare",
    content: str | None = None,
    *,
    models: Sequence[str] = DEFAULT,
    tokenizer: str = "bpe:1024",
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    benchmark: bool = True,
    listener: Listener | None = None,
    paths: Sequence[str] = (),
) -> Comparison:
    """Train every family on the first nine tenths of a text and measure it on the last.

    Args:
        source: name of the text.
        content: the text; by default the plays of Shakespeare that come with the library.
        models: names of families, see :func:`lamina.compare.family`.
        tokenizer: ``char``, ``word``, ``bpe`` or ``bpe:SIZE``, shared by all but ``char-ngram``.
        seconds: training time of each network, 15 where there are no ``steps`` either; n-grams
            and the HMM stop by themselves.
        steps: training steps of each network; with them alone, figures that are not times repeat.
        seed: of initial weights, batches and samples.
        benchmark: whether to measure the kernels beside NumPy's as well.
        listener: told what happens.
        paths: files that the text is from, for the record.

    Raises:
        ValueError: an option makes no sense, or the text is too short to hold a part of it out.
        KeyboardInterrupt: Ctrl-C; what is done by then is its ``comparison``.
    """
    start = time.perf_counter()
    seconds = _SECONDS if seconds is None and steps is None else seconds
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"seconds: expected a positive number, got {seconds:g}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    families = select(models)
    listener = listener or _ignore
    content = text.shakespeare() if content is None else content
    check_length(source, content)
    listener(Progress(None, "training the tokenizer"))
    prepared = prepare(source, content, tokenizer)
    listener(Progress(None, "counting the text's entropy"))
    entropy = text_entropy(content)
    listener(Progress(None, "measuring the machine"))
    result = Comparison(
        source=source,
        characters=len(content),
        tokenizer=f"{tokenizer}, {prepared.tokenizer.vocab_size:,} tokens",
        seconds=seconds,
        seed=seed,
        machine=asdict(bench.machine()),
        tokenizing_seconds=prepared.seconds,
        held_out_characters=len(prepared.held_out),
        steps=steps,
        paths=list(paths),
        entropy=entropy,
    )
    listener(Progress(None, "training the models", comparison=result))
    try:
        for chosen in families:
            job = _Job(chosen, prepared, seconds, steps, seed, listener)
            result.models.append(job.run())
            result.tokenizing_seconds += job.tokenizing_seconds
        if benchmark:
            for row in _kernels(listener):
                result.kernels.append(row)
        result.complete = True
    except KeyboardInterrupt as error:
        error.comparison = result  # type: ignore[attr-defined]
        raise
    finally:
        result.total_seconds = time.perf_counter() - start
    return result


def _ignore(_progress: Progress) -> None:
    pass


def _kernels(listener: Listener) -> Iterator[dict[str, Any]]:
    for case in bench.CASES:
        listener(Progress(None, f"measuring {case.name} beside NumPy"))
        (row,) = bench.run([case], rounds=_ROUNDS, libraries=("numpy",), seconds=_KERNEL_SECONDS)
        yield {
            "name": case.name,
            "size": case.size,
            "seconds": row.seconds,
            "ratio": row.seconds["numpy"] / row.seconds["lamina"],
            "quartiles": [row.ratios["numpy"][0], row.ratios["numpy"][2]],
            "rounds": row.rounds,
        }


class _Watch:
    """A clock of training, and the time in each kernel: both stand still while it is paused."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._kernels: dict[str, float] = {}
        self._started: float | None = None

    def __call__(self) -> float:
        """Seconds that it ran."""
        now = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.seconds + now

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run."""
        self._start()
        try:
            yield
        finally:
            self._stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def shares(self) -> dict[str, float]:
        """Share of the time in each kernel; ``python`` is what is left."""
        whole = max(self.seconds, 1e-9)
        shares = {name: seconds / whole for name, seconds in self._kernels.items()}
        return {**shares, "python": max(0.0, 1 - sum(shares.values()))}

    def _start(self) -> None:
        self._profile = lamina.profile()
        self._profile.__enter__()
        self._started = time.perf_counter()

    def _stop(self) -> None:
        self.seconds, self._started = self(), None
        self._profile.__exit__(None, None, None)
        for name, kernel in self._profile.kernels.items():
            self._kernels[name] = self._kernels.get(name, 0.0) + kernel.seconds


class _Curve(train.Callback):
    """Measures a learning curve at equal parts of the budget."""

    def __init__(self, job: "_Job", watch: _Watch, measure: Callable[[], float]) -> None:
        self._job = job
        self._watch = watch
        self._measure = measure
        self._next = 0.0
        self._measured = -1
        self.points: list[tuple[float, float]] = []

    def on_train_begin(self) -> None:
        """Measure the untrained model."""
        self._add()

    def on_train_batch_end(self, step: int, logs: Any) -> None:
        """Measure where it is time."""
        del step, logs
        share = 0.0 if self._job.seconds is None else self._watch() / self._job.seconds
        if self._job.steps is not None:
            share = max(share, self.run.step / self._job.steps)
        if share >= self._next:
            self._add(share)

    def on_train_end(self) -> None:
        """Measure the trained model."""
        if self._measured != self.run.step and self.run.history.stopped != "interrupted":
            self._add()

    def _add(self, share: float = 0.0) -> None:
        self._next = (math.floor(share * _CURVE_POINTS) + 1) / _CURVE_POINTS
        self._measured = self.run.step
        with self._watch.paused():
            self.points.append((self._watch.seconds, self._measure()))
            self._job.listener(Progress(self._job.family, "training", *self.points[-1]))


@dataclass
class _Job:
    family: Family
    prepared: Prepared
    seconds: float | None
    steps: int | None
    seed: int
    listener: Listener
    tokenizing_seconds: float = 0.0

    def run(self) -> ModelResult:
        chosen, prepared = self.family, self.prepared
        self.listener(Progress(chosen, "training"))
        lamina.manual_seed(self.seed)
        start = time.perf_counter()
        model = chosen.build(prepared.tokenizer, prepared.training)
        ids = prepared.ids
        if model.tokenizer is not prepared.tokenizer:
            ids = model.tokenizer.encode(prepared.training)
            self.tokenizing_seconds = time.perf_counter() - start
        beginning = prepared.held_out[:CURVE_TEXT]
        measured = model.tokenizer.encode(beginning)
        bits = len(beginning.encode()) * math.log(2)

        def measure() -> float:
            return -float(np.sum(model.log_probs(measured), dtype=np.float64)) / bits

        watch = _Watch()
        curve = _Curve(self, watch, measure)
        with watch.running():
            read = self._train(model, ids, watch, curve)
        trained = watch.seconds
        self.listener(Progress(chosen, "measuring", trained))
        with warnings.catch_warnings():
            # The tables say it where a model does not give probabilities.
            warnings.filterwarnings("ignore", message="evaluate: the scores of this model")
            quality = lm.evaluate(model, prepared.held_out)
        sample, speed = self._write(model)
        result = ModelResult(
            family=chosen.name,
            title=chosen.title,
            generation=chosen.generation,
            architecture=chosen.architecture,
            learning=chosen.learning,
            application=chosen.application,
            reach=chosen.reach,
            parameters=model.num_parameters,
            training_seconds=trained,
            training_tokens_per_second=read / trained,
            generation_tokens_per_second=speed,
            bytes_on_disk=_size_on_disk(model),
            tokens=quality.tokens,
            perplexity=quality.perplexity,
            bits_per_byte=quality.bits_per_byte,
            oov_mass=quality.oov_mass,
            curve=curve.points or [(trained, measure())],
            kernels=watch.shares(),
            sample=sample,
            normalized=model.is_normalized,
        )
        self.listener(Progress(chosen, "done", trained, quality.bits_per_byte, result))
        return result

    def _train(self, model: Any, ids: Array, watch: _Watch, curve: _Curve) -> int:
        """Train; how many tokens the model learnt from."""
        if self.family.options is None:
            return fit_counts(self.family, model, ids)
        model.fit(
            ids,
            steps=self.steps,
            seconds=self.seconds,
            callbacks=[curve],
            progress=False,
            seed=self.seed,
            clock=watch,
            **fit_options(self.family),
        )
        return model.tokens_read

    def _write(self, model: lm.LanguageModel) -> tuple[str, float]:
        """A sample, and the tokens written a second."""
        start = time.perf_counter()
        sample = model.generate(
            "\n", max_new_tokens=_SAMPLE_TOKENS, temperature=0.8, seed=self.seed
        )
        seconds = time.perf_counter() - start
        written = len(model.tokenizer.encode(sample))
        return sample.strip("\n"), written / seconds


def _size_on_disk(model: lm.LanguageModel) -> int:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        model.save(target)
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())

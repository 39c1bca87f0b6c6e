"""Trains the families on one text, one after the other, and measures them alike."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lamina
from lamina import bench, lm, text, train
from lamina.compare.families import DEFAULT, Family, family, make_tokenizer

# Held-out characters that a learning curve is measured on, and steps between its points.
_CURVE_TEXT = 8_000
_CURVE_EVERY = 25
_SAMPLE_TOKENS = 160


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What came of one family.

    Attributes:
        family: its name; ``title`` to ``reach`` are as in :class:`Family`.
        parameters: numbers it has learnt.
        training_seconds: time spent learning.
        training_tokens_per_second: tokens read a second while learning.
        generation_tokens_per_second: tokens written a second, one text at a time.
        bytes_on_disk: size of its folder.
        tokens: held-out tokens predicted.
        perplexity: on the held-out part, a token; compares only between equal tokenizers.
        bits_per_byte: on the held-out part; compares between all.
        oov_mass: share of held-out tokens that are unknown.
        curve: seconds and bits per byte while learning, on the beginning of the held-out part.
        kernels: share of the training time in each family of kernels; ``python`` is the rest.
        sample: a text it wrote.
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


@dataclass(kw_only=True)
class Comparison:
    """All results on one text.

    Attributes:
        source: where the text is from.
        characters: its length; the last tenth is held out.
        tokenizer: name and number of tokens of the shared tokenizer.
        seconds: budget of each network.
        seed: of everything random.
        machine: where it ran.
        models: one for each family, in the order asked for.
        kernels: lamina's kernels beside NumPy's, measured in the same run.
        total_seconds: length of the whole comparison.
    """

    source: str
    characters: int
    tokenizer: str
    seconds: float
    seed: int
    machine: dict[str, Any]
    models: list[ModelResult] = field(default_factory=list)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    total_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """What happens now: ``result`` is there once the model is done."""

    family: Family
    stage: str
    seconds: float = 0.0
    bits_per_byte: float = math.nan
    result: ModelResult | None = None


Listener = Callable[[Progress], None]


def compare(
    source: str = "tiny Shakespeare",
    content: str | None = None,
    *,
    models: Sequence[str] = DEFAULT,
    tokenizer: str = "bpe:1024",
    seconds: float = 15.0,
    seed: int = 0,
    benchmark: bool = True,
    listener: Listener | None = None,
) -> Comparison:
    """Train every family on the first nine tenths of a text and measure it on the last.

    Args:
        source: name of the text.
        content: the text; by default the plays of Shakespeare that come with the library.
        models: names of families, see :func:`lamina.compare.family`.
        tokenizer: ``char``, ``word``, ``bpe`` or ``bpe:SIZE``, shared by all but ``char-ngram``.
        seconds: training time of each network; n-grams need one pass and stop by themselves.
        seed: of initial weights, batches and samples.
        benchmark: whether to measure the kernels beside NumPy's as well.
        listener: told what happens.

    Raises:
        ValueError: an option makes no sense, or the text is too short to hold a part of it out.
    """
    start = time.perf_counter()
    if not seconds > 0:
        raise ValueError(f"seconds: expected a positive number, got {seconds}")
    if not models:
        raise ValueError("models: expected at least one")
    families = [family(name) for name in models]
    content = text.shakespeare() if content is None else content
    training, held_out = text.split_text(content)
    shared = make_tokenizer(tokenizer, training)
    if len(shared.encode(training)) < 4 * 64 or len(shared.encode(held_out)) < 2:
        raise ValueError(
            f"{source}: {len(content)} characters are too few to train on and hold a part out"
        )
    result = Comparison(
        source=source,
        characters=len(content),
        tokenizer=f"{tokenizer}, {shared.vocab_size:,} tokens",
        seconds=seconds,
        seed=seed,
        machine=asdict(bench.machine()),
    )
    for chosen in families:
        job = _Job(chosen, training, held_out, shared, seconds, seed, listener or _ignore)
        result.models.append(job.run())
    if benchmark:
        result.kernels = list(_kernels())
    result.total_seconds = time.perf_counter() - start
    return result


def _ignore(_progress: Progress) -> None:
    pass


def _kernels() -> Iterator[dict[str, Any]]:
    for row in bench.run(bench.CASES, rounds=3, libraries=("numpy",)):
        yield {
            "name": row.case.name,
            "size": row.case.size,
            "seconds": row.seconds,
            "ratio": row.ratios["numpy"][1],
        }


@dataclass
class _Job:
    family: Family
    training: str
    held_out: str
    tokenizer: text.Tokenizer
    seconds: float
    seed: int
    listener: Listener

    def run(self) -> ModelResult:
        chosen = self.family
        self.listener(Progress(chosen, "training"))
        lamina.manual_seed(self.seed)
        model = chosen.build(self.tokenizer, self.training)
        start = time.perf_counter()
        with lamina.profile() as profile:
            if chosen.options is None:
                model.fit(self.training)
                read = len(model.tokenizer.encode(self.training))
                curve: list[tuple[float, float]] = []
            else:
                read, curve = self._train(model)
        trained = time.perf_counter() - start
        self.listener(Progress(chosen, "measuring", trained))
        quality = lm.evaluate(model, self.held_out)
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
            curve=[*curve, (trained, quality.bits_per_byte)],
            kernels=profile.shares(),
            sample=sample,
        )
        self.listener(Progress(chosen, "done", trained, quality.bits_per_byte, result))
        return result

    def _train(self, model: Any) -> tuple[int, list[tuple[float, float]]]:
        """Train a network; how many tokens it read, and its learning curve."""
        options: dict[str, Any] = dict(self.family.options or {})
        options["batch_size"] = int(options["batch_size"])
        options["context"] = int(options["context"])
        beginning = self.held_out[:_CURVE_TEXT]
        tokens = len(self.tokenizer.encode(beginning))
        per_byte = tokens / len(beginning.encode()) / math.log(2)
        curve: list[tuple[float, float]] = []

        def point(_epoch: int, logs: Any) -> None:
            bits = logs["val_loss"] * per_byte
            curve.append((logs["seconds"], bits))
            self.listener(Progress(self.family, "training", logs["seconds"], bits))

        model.fit(
            self.training,
            seconds=self.seconds,
            validation=beginning,
            eval_every=_CURVE_EVERY,
            callbacks=[train.LambdaCallback(on_epoch_end=point)],
            progress=False,
            seed=self.seed,
            **options,
        )
        steps = int(model.history["steps"][-1])
        return steps * options["batch_size"] * options["context"], curve

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

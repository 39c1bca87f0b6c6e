"""A comparison as it comes from a real run, made by hand."""

import dataclasses

import pytest

from lamina.compare import Comparison, ModelResult, TextEntropy, family

# fmt: off
NUMBERS = {
    # parameters, seconds, read/s, written/s, bytes, tokens, perplexity, bits, kernels
    "ngram1": (1_024, 0.061, 6.6e6, 61_000, 31_402, 45_120, 283.1, 3.301,
               {"ngram": 0.42, "python": 0.58}),
    "ngram3": (486_112, 0.412, 9.8e5, 38_400, 5_120_331, 45_120, 86.2, 2.604,
               {"ngram": 0.83, "python": 0.17}),
    "ngram5": (1_304_870, 0.934, 4.3e5, 31_900, 15_622_004, 45_120, 78.4, 2.551,
               {"ngram": 0.9, "python": 0.1}),
    "char-ngram": (812_441, 0.702, 1.43e6, 52_700, 9_340_112, 111_540, 4.924, 2.3,
                   {"ngram": 0.88, "python": 0.12}),
    "hmm": (33_759, 4.49, 2.7e6, 8_120, 210_331, 45_120, 106.0, 2.775,
            {"hmm": 0.97, "python": 0.03}),
    "rnn": (361_856, 15.21, 91_200, 4_310, 1_449_203, 45_120, 61.0, 2.402,
            {"rnn": 0.37, "matmul": 0.21, "loss": 0.19, "optimizer": 0.07, "embedding": 0.02,
             "python": 0.14}),
    "lstm": (659_072, 15.18, 48_700, 2_950, 2_638_112, 45_120, 47.1, 2.251,
             {"lstm": 0.58, "matmul": 0.14, "loss": 0.11, "optimizer": 0.06, "embedding": 0.01,
              "python": 0.1}),
    "gpt": (927_360, 15.3, 27_400, 1_480, 3_711_900, 45_120, 43.2, 2.203,
            {"matmul": 0.49, "attention": 0.12, "loss": 0.1, "optimizer": 0.06, "norm": 0.05,
             "activation": 0.04, "dropout": 0.01, "embedding": 0.01, "python": 0.12}),
}
# fmt: on
SAMPLES = {
    "ngram1": "the ,you\n and S to\n o. himI my 's\n:\n the l beWARD be ;\nthat a",
    "ngram3": "KING RICHARD III:\nWhat says the duke? the prince is not the king\n"
    "And yet not so; I pray thee, be it so,\nThe people of the world to me to death.",
    "ngram5": "MENENIUS:\nI tell you, friends, most charitable care\n"
    "Have the patricians of you. For your wants,\nYour suffering in this house of York, my lord.",
    "char-ngram": "DUKE VINCENTIO:\nThe good my lord, and that thou shalt not stay,\n"
    "I would have been the comfort of the sea\nThat you shall be my sister's brother.",
    "hmm": "KING:\nAnd the slen of pith the,\nMENENIUS: and now.\nDien upon the old.",
    "rnn": "GLOUCESTER:\nI have been the world the soul of thee,\n"
    "And so the lord of the hand, and the man,\nThat I will be the king of my heart.",
    "lstm": "QUEEN ELIZABETH:\nWhy, how now, brother! what a state is this?\n"
    "My lord, I have not done the deed to-night;\nThe king hath sent me to the Tower again.",
    "gpt": "ROMEO:\nO, let me speak, and I will tell the truth:\n"
    "The day is broke, and all the stars are gone.\n\n"
    "JULIET:\nThen, gentle night, be <still> & stay.",
}
RATIOS = {
    ("matmul", "1024 x 1024 x 1024"): (0.0182, 0.0169, 0.93),
    ("conv2d", "32 x 64 x 56 x 56 -> 64, 3 x 3"): (0.071, 0.412, 5.8),
    ("LSTM", "T 64, B 32, 128 -> 256"): (0.0121, 0.0514, 4.25),
    ("causal attention", "4 x 12 x 512 x 64"): (0.0193, 0.122, 6.3),
    ("softmax-cross-entropy, with gradient", "2048 x 50257"): (0.098, 0.861, 8.8),
    ("counting 3-grams", "1 M tokens, 20 k words"): (0.0241, 0.563, 23.4),
}


ENTROPY = [
    # unit, known, symbols, blocks, bits, corrected, bits a byte
    ("char", 0, 1_115_394, 65, 4.779, 4.779, 4.779),
    ("char", 3, 1_115_394, 50_712, 2.161, 2.197, 2.197),
    ("word", 1, 202_651, 131_952, 5.309, 6.197, 1.126),
]


def make_result(name, **changes):
    chosen = family(name)
    fields = ("title", "generation", "architecture", "learning", "application", "reach")
    parameters, seconds, read, written, size, tokens, perplexity, bits, kernels = NUMBERS[name]
    curve = [(seconds, bits)]
    if chosen.options is not None:
        points = [seconds * k / 14 for k in range(15)]
        curve = [(t, bits + 6.1 / (1 + 2.5 * t) - 0.05) for t in points]
    made = ModelResult(
        family=name,
        **{field: getattr(chosen, field) for field in fields},
        parameters=parameters,
        training_seconds=seconds,
        training_tokens_per_second=read,
        generation_tokens_per_second=written,
        bytes_on_disk=size,
        tokens=tokens,
        perplexity=perplexity,
        bits_per_byte=bits,
        oov_mass=0.0,
        curve=curve,
        kernels=kernels,
        sample=SAMPLES[name],
    )
    return dataclasses.replace(made, **changes)


def make_comparison(*models, **changes):
    made = Comparison(
        source="tiny Shakespeare",
        characters=1_115_394,
        tokenizer="bpe:1024, 1,024 tokens",
        seconds=15.0,
        seed=0,
        machine={
            "processor": "Intel(R) Xeon(R) Processor @ 2.60GHz",
            "isa": "avx512",
            "threads": 2,
            "peak": 241.3e9,
            "bandwidth": 18.4e9,
            "versions": {"lamina": "0.1.0", "numpy": "2.3.1"},
        },
        models=list(models) or [make_result(name) for name in NUMBERS],
        kernels=[
            {
                "name": n,
                "size": s,
                "seconds": {"lamina": a, "numpy": b},
                "ratio": r,
                "quartiles": [0.9 * r, 1.1 * r],
                "rounds": 15 if b < 0.2 else 4,
            }
            for (n, s), (a, b, r) in RATIOS.items()
        ],
        total_seconds=68.4,
        tokenizing_seconds=0.61,
        held_out_characters=111_540,
        complete=True,
        entropy=[
            TextEntropy(unit=u, known=k, symbols=s, blocks=b, bits=h, corrected=c, bits_per_byte=p)
            for u, k, s, b, h, c, p in ENTROPY
        ],
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def result():
    """Makes the result of one family; fields may be changed."""
    return make_result


@pytest.fixture
def comparison():
    """Makes a comparison, of eight models where none is given; fields may be changed."""
    return make_comparison

"""Word2Vec and FastText against a plain loop that draws the same random numbers."""

import math

import numpy as np
import pytest

from lamina.text import FastText, Word2Vec

MASK = (1 << 64) - 1
UNKNOWN = None


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Draws:
    def __init__(self, seed, epoch, block):
        self.state = mix(mix(mix(seed) ^ epoch) ^ block)

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return mix(self.state)


class Alias:
    def __init__(self, weights):
        total, size = 0.0, len(weights)
        for weight in weights:
            total += weight
        share = [weight * size / total for weight in weights]
        self.slots = [(MASK >> 32, word) for word in range(size)]
        small = [word for word in range(size) if share[word] < 1]
        large = [word for word in range(size) if share[word] >= 1]
        while small and large:
            less, more = small.pop(), large[-1]
            self.slots[less] = (int(share[less] * 2**32), more)
            share[more] -= 1 - share[less]
            if share[more] < 1:
                small.append(large.pop())

    def draw(self, draws, part, parts):
        bits = draws.next()
        width = 0xFFFFFFFF // parts
        place = part * width + ((bits >> 32) * width >> 32)
        word = (place * len(self.slots)) >> 32
        share, other = self.slots[word]
        return word if bits & 0xFFFFFFFF < share else other


def huffman(counts):
    """Inner nodes and labels on the path to each word, by two queues."""
    size = len(counts)
    leaves = [(counts[word], word) for word in reversed(range(size))]
    inner, parent = [], {}
    for made in range(size, 2 * size - 1):
        children = []
        for _ in range(2):
            leaf = leaves and (not inner or leaves[0][0] < inner[0][0])
            children.append((leaves if leaf else inner).pop(0))
        for (_, node), label in zip(children, (1.0, 0.0), strict=True):
            parent[node] = (made, label)
        inner.append((children[0][0] + children[1][0], made))
    paths = []
    for word in range(size):
        path, node = [], word
        while node in parent:
            node, label = parent[node]
            path.insert(0, (node - size, label))
        paths.append(path)
    return paths


def fnv(text):
    hash = 2166136261
    for byte in text.encode():
        signed = byte - 256 if byte >= 128 else byte
        hash = ((hash ^ (signed & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
    return hash


def parts(word, min_n, max_n):
    enclosed = f"<{word}>"
    return [
        enclosed[start : start + length]
        for start in range(len(enclosed))
        for length in range(min_n, max_n + 1)
        if start + length <= len(enclosed)
        and not (length == 1 and (start == 0 or start + 1 == len(enclosed)))
    ]


class Plain:
    """The loop, in float64."""

    def __init__(self, model, words, counts):
        self.m, self.words, self.counts = model, words, counts
        self.place = {word: place for place, word in enumerate(words)}
        size = model.vector_size
        self.tables = {k: v[:, :size].astype(float) for k, v in model._tables.items()}
        total = sum(counts)
        threshold = model.sample * total
        self.kept = [
            int(min((math.sqrt(c / threshold) + 1) * (threshold / c), 1) * 0xFFFFFFFF)
            if model.sample
            else None
            for c in counts
        ]
        self.alias = Alias([c**model.ns_exponent for c in counts])
        self.paths = huffman(counts)
        self.loss = 0.0

    def rows(self, word):
        subwords = self.m._subwords()
        if subwords is None:
            return [word]
        min_n, max_n, buckets = subwords
        found = [fnv(part) % buckets for part in parts(self.words[word], min_n, max_n)]
        return [word, *(len(self.words) + bucket for bucket in found)]

    def train(self, sentences, epochs):
        m = self.m
        ids = [[self.place.get(word) for word in sentence] for sentence in sentences]
        total = sum(map(len, ids))
        for epoch in range(epochs):
            first, last = (
                m.alpha + (m.min_alpha - m.alpha) * (epoch + done) / epochs for done in (0, 1)
            )
            done, number, at = 0, 0, 0
            while at < len(ids):
                block, size = [], 0
                while at < len(ids) and size < m.batch_words:
                    block.append(ids[at])
                    size += len(ids[at])
                    at += 1
                draws = Draws(m.seed, epoch, number)
                each = Draws(m.seed, MASK, number)
                number += 1

                def rate(done, first=first, last=last):
                    return np.float32(first + (last - first) * min(done / total, 1))

                alpha, start, batch = rate(done), 0, 0
                for sentence in block:
                    end = start + len(sentence)
                    if end - batch >= m.batch_words and start > batch:
                        done, batch = done + start - batch, start
                        alpha = rate(done)
                    self.sentence(sentence, draws, each, epoch, float(alpha))
                    start = end
                done += start - batch

    def sentence(self, ids, draws, each, epoch, alpha):
        m = self.m
        known, shrink = [], []
        for id in ids:
            if id is UNKNOWN:
                continue
            bits = each.next()
            kept = ((bits >> 32) + epoch * 0x9E3779B9) & 0xFFFFFFFF
            if m.sample and self.kept[id] < kept:
                continue
            known.append(id)
            less = (((bits & 0xFFFFFFFF) * m.window >> 32) + epoch) % m.window
            shrink.append(less if m.shrink_windows else 0)
        fast = m._subwords() is not None
        for centre, word in enumerate(known):
            window = m.window - shrink[centre]
            low, high = max(centre - window, 0), centre + window + 1
            context = known[low:centre] + known[centre + 1 : high]
            if not m.sg:
                if context:
                    rows = [row for id in context for row in self.rows(id)]
                    self.joined(rows, [word], draws, alpha, bool(m.cbow_mean))
            elif fast:
                if context:
                    self.joined(self.rows(word), context, draws, alpha, True)
            elif m.shared_negatives:
                for start in range(0, len(context), 16):
                    self.apart(context[start : start + 16], word, draws, alpha)
            else:
                for id in context:
                    self.apart([id], word, draws, alpha)

    def negatives(self, word, draws):
        found = {word: 1}
        if self.m.negative:
            for part in range(self.m.negative):
                other = self.alias.draw(draws, part, self.m.negative)
                if other != word:
                    found[other] = found.get(other, 0) + 1
        return list(found), np.array(list(found.values()), float)

    def step(self, x, table, targets, labels, weights, alpha):
        """The change of inputs ``[C, D]``, after the targets were changed."""
        t = table[targets]
        f = x @ t.T
        self.loss += float((weights * np.logaddexp(0, np.where(labels, -f, f))).sum())
        sigmoid = np.where(f > 6, 1, np.where(f < -6, 0, 1 / (1 + np.exp(-f))))
        g = alpha * weights * (labels - sigmoid)
        table[targets] += g.T @ x
        return g @ t

    def each(self, word, draws):
        """Tables, targets, labels and weights of the steps for one word."""
        drawn = self.negatives(word, draws) if self.m.negative else None
        if self.m.hs:
            nodes = [node for node, _ in self.paths[word]]
            labels = np.array([label for _, label in self.paths[word]])
            yield self.tables["nodes"], nodes, labels, np.ones(len(nodes))
        if drawn:
            labels = np.zeros(len(drawn[0]))
            labels[0] = 1
            yield self.tables["hidden"], drawn[0], labels, drawn[1]

    def apart(self, rows, word, draws, alpha):
        input = self.tables["input"]
        for table, targets, labels, weights in self.each(word, draws):
            groups = [[row] for row in rows] if table is self.tables["nodes"] else [rows]
            for group in groups:
                change = self.step(input[group], table, targets, labels, weights, alpha)
                np.add.at(input, group, change)

    def joined(self, rows, words, draws, alpha, mean):
        input = self.tables["input"]
        x = input[rows].sum(0)
        x = x / len(rows) if mean else x
        total = np.zeros_like(x)
        for steps in [list(self.each(word, draws)) for word in words]:
            for table, targets, labels, weights in steps:
                change = self.step(x[None], table, targets, labels, weights, alpha)[0]
                x, total = x + change, total + change
        np.add.at(input, rows, total if mean else total / len(rows))


def corpus(rng, sentences=30, words=25):
    """Sentences with few frequent and many rare words, and of many lengths."""
    weights = 1 / np.arange(1, words + 1)
    found = []
    for _ in range(sentences):
        ids = rng.choice(words, size=rng.integers(0, 12), p=weights / weights.sum())
        found.append([f"wört{id}" for id in ids])
    return found


KINDS = [
    {"sg": 1},
    {"sg": 1, "shrink_windows": False, "sample": 0.0, "negative": 9},
    {"sg": 1, "hs": 1, "negative": 0},
    {"sg": 1, "hs": 1, "negative": 3},
    {"sg": 1, "shared_negatives": True},
    {"sg": 1, "shared_negatives": True, "window": 12, "negative": 11, "hs": 1},
    {"sg": 0},
    {"sg": 0, "cbow_mean": 0, "ns_exponent": -0.5},
    {"sg": 0, "hs": 1, "negative": 0},
    {"sg": 0, "hs": 1, "negative": 2, "cbow_mean": 0},
]


def check_against_plain(cls, options, rng, size, atol=1e-6):
    sentences = corpus(rng)
    common = {"min_count": 2, "sample": 0.05, "batch_words": 20, "seed": 11, "alpha": 0.1}
    model = cls(**{**common, "vector_size": size, "workers": 1, "compute_loss": True, **options})
    model.build_vocab(sentences)
    for name, table in model._tables.items():
        if name != "input":
            table[:, :size] = rng.normal(0, 0.1, (len(table), size))
    plain = Plain(model, model.wv.index_to_key, model.wv.counts.tolist())
    model.train(sentences, epochs=2)
    plain.train(sentences, 2)
    for name, table in model._tables.items():
        np.testing.assert_allclose(table[:, :size], plain.tables[name], atol=atol, rtol=1e-6)
        assert not table[:, size:].any()
    assert model.get_latest_training_loss() == pytest.approx(plain.loss, rel=1e-6)
    return model


@pytest.mark.parametrize("size", [1, 20, 37])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_training_is_that_of_a_plain_loop(options, size, rng):
    check_against_plain(Word2Vec, options, rng, size)


@pytest.mark.parametrize(
    "options", [{"sg": 1}, {"sg": 0}, {"sg": 1, "hs": 1}, {"max_n": 0}], ids=str
)
def test_fasttext_is_that_of_a_plain_loop(options, rng):
    given = {"bucket": 4096, "min_n": 2, "max_n": 4, **options}
    # Buckets that all words share are added to many hundred times.
    model = check_against_plain(FastText, given, rng, 9, atol=2e-5)
    buckets = model._tables["input"][len(model.wv) :, :9]
    for word in model.wv.index_to_key:
        own = [model._tables["input"][model.wv.key_to_index[word], :9]]
        if "max_n" not in options:
            own += [buckets[fnv(part) % 4096] for part in parts(word, 2, 4)]
        np.testing.assert_allclose(model.wv[word], np.mean(own, 0), atol=1e-6)


def test_unknown_words_have_the_mean_of_their_parts(rng):
    model = FastText(corpus(rng), vector_size=8, min_count=1, bucket=500, workers=1, epochs=1)
    expected = np.mean([model.wv.vectors_ngrams[fnv(p) % 500] for p in parts("ungehört", 3, 6)], 0)
    np.testing.assert_allclose(model.wv["ungehört"], expected, atol=1e-7)
    assert "ungehört" in model.wv
    assert not model.wv.has_index_for("ungehört")
    assert len(model.wv.most_similar("ungehört", topn=3)) == 3
    assert "" not in model.wv
    with pytest.raises(KeyError, match="has no parts"):
        model.wv[""]

"""Writes the golden files of word vectors with gensim 4.4.0: run in an environment that has it."""

import json
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from gensim.models.fasttext import ft_hash_bytes
from gensim.models.fasttext_inner import compute_ngrams_bytes
from gensim.models.word2vec import Word2Vec

HERE = Path(__file__).parent
WORDS = [
    "the",
    "König",
    "Königin",
    "man",
    "woman",
    "naïve",
    "日本",
    "🙂",
    "don't",
    "The",
    "zero",
    "x",
]
PAIRS = [
    "# a comment",
    "man\twoman\t8.5",
    "the\tx\t1.0",
    "König\tKönigin\t9.0",
    "man\t日本\t2.5",
    "unknown\tman\t3.0",
    "zero\tx\t4.0",
    "naïve\tdon't\t4.0",
]
ANALOGIES = [
    ": one",
    "man woman König Königin",
    "the x man woman",
    ": two",
    "man naïve x zero",
    "man unknown the x",
    "日本 🙂 zero naïve",
]


def main() -> None:
    rng = np.random.default_rng(0)
    keyed = KeyedVectors(6)
    vectors = rng.standard_normal((len(WORDS), 6)).astype(np.float32)
    vectors[2] = vectors[1] - vectors[3] + vectors[4] + 0.1
    keyed.add_vectors(WORDS, vectors)
    keyed.save_word2vec_format(HERE / "vectors.txt", binary=False)
    keyed.save_word2vec_format(HERE / "vectors.bin", binary=True)
    keyed.save_word2vec_format(HERE / "vectors.txt.gz", binary=False)
    (HERE / "pairs.tsv").write_text("\n".join(PAIRS) + "\n", encoding="utf8")
    (HERE / "analogies.txt").write_text("\n".join(ANALOGIES) + "\n", encoding="utf8")
    pearson, spearman, oov = keyed.evaluate_word_pairs(HERE / "pairs.tsv")
    score, sections = keyed.evaluate_word_analogies(HERE / "analogies.txt")
    hashes = {}
    for word in WORDS:
        parts = compute_ngrams_bytes(word, 3, 5)
        hashes[word] = [ft_hash_bytes(part) for part in parts]
    np.savez(HERE / "vectors.npz", vectors=vectors)
    sentences = [["a", "b", "c", "a"], ["c", "d"], ["b", "c"], ["e"]]
    model = Word2Vec(
        sentences,
        vector_size=5,
        min_count=1,
        sample=1e-2,
        workers=1,
        seed=3,
        epochs=1,
        alpha=0,
        min_alpha=0,
    )
    expected = {
        "words": WORDS,
        "most_similar": keyed.most_similar(positive=["König", "woman"], negative=["man"], topn=4),
        "most_similar_weighted": keyed.most_similar(positive=[("x", 2.0), "the"], topn=4),
        "restricted": keyed.most_similar("x", topn=4, restrict_vocab=5),
        "cosmul": keyed.most_similar_cosmul(positive=["König", "woman"], negative=["man"], topn=4),
        "similar_by_vector": keyed.similar_by_vector(vectors[3] + vectors[5], topn=3),
        "similarity": float(keyed.similarity("man", "woman")),
        "distance": float(keyed.distance("man", "日本")),
        "distances": keyed.distances("man", ["x", "zero"]).tolist(),
        "n_similarity": float(keyed.n_similarity(["man", "x"], ["the", "zero", "🙂"])),
        "doesnt_match": keyed.doesnt_match(["man", "woman", "König", "x"]),
        "closer_than": keyed.closer_than("man", "x"),
        "rank": int(keyed.rank("man", "x")),
        "mean": keyed.get_mean_vector(["man", "unknown", "x"], weights=[1, 2, -3]).tolist(),
        "pearson": [float(pearson.statistic), float(pearson.pvalue)],
        "spearman": [float(spearman.statistic), float(spearman.pvalue)],
        "oov": float(oov),
        "analogies": score,
        "sections": [[s["section"], s["correct"], s["incorrect"]] for s in sections],
        "hashes": hashes,
        "sentences": sentences,
        "index_to_key": model.wv.index_to_key,
        "initial": model.wv.vectors.tolist(),
        "sample_int": [int(model.wv.get_vecattr(w, "sample_int")) for w in model.wv.index_to_key],
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1, default=float)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main()

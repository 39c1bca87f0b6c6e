"""The same bits for any number of threads, and for the same seed."""

import hashlib

import numpy as np
import pytest

import lamina
from lamina import models, ops, optim

STEPS = 200


def gpt():
    config = models.GPTConfig(
        vocab_size=65, context=64, dim=64, num_heads=4, num_layers=2, bias=False, dropout=0.1
    )
    return models.GPT(config)


def lstm():
    return models.RecurrentLM(
        models.RecurrentConfig(vocab_size=65, cell="lstm", dim=64, hidden=96, num_layers=1)
    )


def weights_after_training(build, threads):
    lamina.set_num_threads(threads)
    lamina.manual_seed(1)
    model = build()
    parameters = list(model.parameters())
    optimizer = optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)
    data = np.random.default_rng(0).integers(0, 65, (STEPS, 8, 65))
    for ids in data:
        logits = model(ids[:, :-1])
        loss = ops.cross_entropy(logits.reshape(-1, 65), ids[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    digest = hashlib.sha256()
    for name, array in model.state_dict().items():
        assert np.isfinite(array).all(), name
        digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("build", [gpt, lstm])
def test_weights_do_not_depend_on_threads(build):
    before = lamina.num_threads()
    try:
        digests = {threads: weights_after_training(build, threads) for threads in (1, 2, 3)}
    finally:
        lamina.set_num_threads(before)
    assert len(set(digests.values())) == 1, digests

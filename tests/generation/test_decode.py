import numpy as np
import pytest

from lamina import generation


def successor(ids):
    """Scores that make id + 1 (modulo 5) the best by far."""
    scores = np.full((len(ids), 5), -9.0)
    scores[np.arange(len(ids)), (ids[:, -1] + 1) % 5] = 9.0
    return scores


def flat(ids):
    return np.zeros((len(ids), 50))


def test_greedy_continues_every_prompt():
    ids = generation.generate(successor, [[0, 1], [3, 3]], max_new_tokens=4, do_sample=False)
    np.testing.assert_array_equal(ids, [[0, 1, 2, 3, 4, 0], [3, 3, 4, 0, 1, 2]])
    assert ids.dtype == np.int64


def test_single_prompt_gives_a_single_row():
    ids = generation.generate(successor, [1], max_new_tokens=2, temperature=0)
    np.testing.assert_array_equal(ids, [1, 2, 3])


def test_rows_end_at_their_end_token():
    ids = generation.generate(
        successor, [[2], [0]], max_new_tokens=9, do_sample=False, eos_token_id=3
    )
    np.testing.assert_array_equal(ids, [[2, 3, 3, 3], [0, 1, 2, 3]])
    ids = generation.generate(
        successor, [[2], [0]], max_new_tokens=9, do_sample=False, eos_token_id=3, pad_token_id=0
    )
    np.testing.assert_array_equal(ids, [[2, 3, 0, 0], [0, 1, 2, 3]])


def test_the_seed_decides():
    def draw(seed):
        return generation.generate(flat, [[0]], rng=np.random.default_rng(seed))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_stream_and_callback_see_each_token():
    steps = list(generation.stream(successor, [[0], [1]], max_new_tokens=2, do_sample=False))
    np.testing.assert_array_equal(steps, [[1, 2], [2, 3]])
    heard = []
    generation.generate(
        successor, [0], max_new_tokens=3, do_sample=False, on_token=lambda t: heard.extend(t)
    )
    assert heard == [1, 2, 3]


def test_empty_prompt_reaches_the_function():
    ids = generation.generate(lambda ids: np.eye(3)[[ids.shape[1]]], [], max_new_tokens=2, top_k=1)
    np.testing.assert_array_equal(ids, [0, 1])


def test_no_new_tokens():
    np.testing.assert_array_equal(generation.generate(flat, [[4, 2]], max_new_tokens=0), [[4, 2]])


def test_incremental_shows_each_token_once():
    shown = []

    def step(ids, state, *, last_only):
        assert last_only
        shown.append(ids.tolist())
        return successor(ids)[:, None], (state or 0) + ids.shape[1]

    generation.generate(generation.Incremental(step), [[0, 1]], max_new_tokens=3, do_sample=False)
    assert shown == [[[0, 1]], [[2]], [[3]]]


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([[1, 2], [3]], {}, r"ids: expected prompts of one length, got lengths \[2, 1\]"),
        ([[[1]]], {}, r"ids: expected shape \[N, L\] or \[L\], got \(1, 1, 1\)"),
        (np.zeros((0, 2), int), {}, r"ids: expected shape \[N, L\] or \[L\], got \(0, 2\)"),
        ([1], {"max_new_tokens": -1}, "max_new_tokens: expected at least 0, got -1"),
        ([1], {"temperature": -0.5}, "temperature"),
        ([1], {"top_p": 7}, "top_p"),
    ],
)
def test_bad_arguments_are_named_at_the_call(ids, options, message):
    with pytest.raises(ValueError, match=message):
        generation.stream(flat, ids, **options)


def test_ids_must_be_integers():
    with pytest.raises(TypeError, match="ids: expected integers, got float64"):
        generation.stream(flat, [0.5])


def test_scores_must_have_a_row_for_each_prompt():
    with pytest.raises(ValueError, match=r"next_scores: expected shape \[2, V\], got \(1, 50\)"):
        generation.generate(lambda _: np.zeros((1, 50)), [[1], [2]])


def test_a_seed_is_a_generator_of_its_own():
    expected = generation.generate(flat, [[0]], rng=np.random.default_rng(5))
    np.testing.assert_array_equal(generation.generate(flat, [[0]], seed=5), expected)
    with pytest.raises(ValueError, match="seed: expected either seed or rng, got both"):
        generation.stream(flat, [0], seed=5, rng=np.random.default_rng(5))


def test_room_for_tokens_grows_as_they_come():
    tokens = generation.stream(successor, [0], max_new_tokens=10**13, do_sample=False)
    assert [int(next(tokens)[0]) for _ in range(1000)] == [i % 5 for i in range(1, 1001)]
    ids = generation.generate(successor, [[0], [3]], max_new_tokens=1000, do_sample=False)
    np.testing.assert_array_equal(ids, np.add.outer([0, 3], np.arange(1001)) % 5)


def test_numbers_and_names_of_options_are_checked():
    with pytest.raises(TypeError, match=r"max_new_tokens: expected an integer, got 2.5"):
        generation.stream(flat, [1], max_new_tokens=2.5)
    with pytest.raises(TypeError, match=r"generate\(\) got an unexpected keyword argument 'sede'"):
        generation.generate(flat, [1], sede=1)

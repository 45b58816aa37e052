import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tenfold import text_scores
from tenfold.data.sentences import Question
from tenfold.text_scores import Scores

TEXTS = ("the cat sat", "a dog ran to the sea", "one two", "the sea sat on a dog and ran")


def alone(model, tokenizer, text, after=""):
    """The definition: one text at a time, token by token, without padding."""
    head, tail = (tokenizer(part)["input_ids"] if part else [] for part in (after, text))
    ids = head + tail
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logs[n - 1, ids[n]]) for n in range(max(1, len(head)), len(ids)))


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_scores_are_those_of_each_text_alone_whatever_the_batch(tiny_llama, batch):
    scores = text_scores.score(*tiny_llama, TEXTS, batch=batch)
    want = [alone(*tiny_llama, text) for text in TEXTS]
    assert scores.total == pytest.approx(want, rel=1e-5)
    assert scores.tokens.tolist() == [len(tiny_llama[1](t)["input_ids"]) - 1 for t in TEXTS]
    assert scores.per_token == pytest.approx(np.array(want) / scores.tokens)


def test_beginnings_are_read_and_not_scored(tiny_llama):
    after = ["one", "two the", "a dog", "the sea"]
    scores = text_scores.score(*tiny_llama, TEXTS, after=after, batch=2)
    want = [alone(*tiny_llama, *pair) for pair in zip(TEXTS, after, strict=True)]
    assert scores.total == pytest.approx(want, rel=1e-5)
    assert scores.tokens.tolist() == [len(tiny_llama[1](t)["input_ids"]) for t in TEXTS]


def test_a_text_of_one_token_has_nothing_to_score(tiny_llama):
    with pytest.raises(ValueError, match="'cat' has no token to score"):
        text_scores.score(*tiny_llama, ["the cat", "cat"])
    assert len(text_scores.score(*tiny_llama, ["cat"], after=["the"]).total) == 1


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(-9, -0.1)), min_size=1, max_size=9),
    st.floats(-2, 2),
)
def test_a_loss_that_all_tokens_share_is_the_ratio_of_perplexities(rows, lost):
    tokens = np.array([n for n, _ in rows])
    plain = Scores(np.array([x * n for n, x in rows]), tokens)
    ratio = text_scores.perplexity_ratio(Scores(plain.total - lost * tokens, tokens), plain)
    for number in (ratio.value, ratio.low, ratio.high):
        assert number == pytest.approx(math.exp(lost))


def test_long_texts_weigh_more_in_a_perplexity():
    plain = Scores(np.array([-10.0, -90.0]), np.array([10, 90]))
    steered = Scores(np.array([-20.0, -90.0]), plain.tokens)
    ratio = text_scores.perplexity_ratio(steered, plain)
    assert ratio.value == pytest.approx(math.exp(0.1))
    assert (ratio.low, ratio.high) == (1.0, pytest.approx(math.e))
    with pytest.raises(ValueError, match="same texts"):
        text_scores.perplexity_ratio(steered, Scores(plain.total, np.array([9, 91])))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """200 draws of 2 x 32 normal numbers, seed 0; 95 % intervals of a difference of 0.5."""
    rng = np.random.default_rng(0)

    def share(true):
        held = 0
        for _ in range(200):
            found = text_scores.contrast(rng.normal(0.5, 1, 32), rng.normal(0, 1, 32))
            held += found.low <= true <= found.high
        return held / 200

    assert 0.89 <= share(0.5) <= 0.98
    assert share(1.3) < 0.3  # the negative control


def test_an_estimate_of_equal_numbers_has_no_width():
    assert text_scores.mean(np.full(5, 2.0)) == text_scores.Estimate(2, 2, 2)
    assert str(text_scores.contrast(np.ones(3), np.zeros(4))) == "1.00 (1.00 to 1.00)"


QUESTIONS = [
    Question("who ran", {"a dog": True, "the sea": False, "one cat": False},
             {"a dog": True, "the dog": True, "the sea": False, "one": False}),
    Question("what sat", {"two": True, "the cat": False}, {"two": True, "the cat": False}),
]  # fmt: skip


def test_mc1_and_mc2_are_their_definitions(tiny_llama):
    found = text_scores.choose(*tiny_llama, QUESTIONS)
    for n, question in enumerate(QUESTIONS):
        after = f"Q: {question.text}\nA:"
        logs = {
            answer: alone(*tiny_llama, f" {answer}", after)
            for answer in (*question.one, *question.many)
        }
        best = max(question.one, key=lambda answer: logs[answer])
        assert found.mc1[n] == question.one[best]
        true = sum(math.exp(logs[a]) for a, label in question.many.items() if label)
        everything = sum(math.exp(logs[a]) for a in question.many)
        assert found.mc2[n] == pytest.approx(true / everything, rel=1e-4)


def test_a_model_that_favours_the_true_answers_gets_all_and_its_opposite_none(tiny_llama):
    """Labels set by the model's own probabilities, then turned over."""

    def turned(question, best):
        one = dict.fromkeys(question.one, False) | {best(question.one): True}
        return Question(question.text, one, one)

    def by_score(question, sign):
        after = f"Q: {question.text}\nA:"
        return lambda answers: max(answers, key=lambda a: sign * alone(*tiny_llama, f" {a}", after))

    best = [turned(q, by_score(q, 1)) for q in QUESTIONS]
    worst = [turned(q, by_score(q, -1)) for q in QUESTIONS]
    assert text_scores.choose(*tiny_llama, best).mc1.tolist() == [1, 1]
    assert text_scores.choose(*tiny_llama, worst).mc1.tolist() == [0, 0]
    high, low = (text_scores.choose(*tiny_llama, q).mc2 for q in (best, worst))
    assert (high > low).all()


def test_the_same_seed_gives_the_same_texts_and_leaves_the_generator(tiny_llama):
    openers = ["the", "a dog ran to the sea", "one two"]
    before = torch.random.get_rng_state()
    first = text_scores.continuations(*tiny_llama, openers, tokens=6, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == text_scores.continuations(*tiny_llama, openers, tokens=6, seed=3)
    assert first != text_scores.continuations(*tiny_llama, openers, tokens=6, seed=4)
    assert len(first) == 3
    assert not any(text.startswith("the") and "dog ran to the sea" in text for text in first)


def test_padding_on_the_left_changes_no_text(tiny_llama):
    """Nearly greedy, so that one text alone and in a batch take the same path."""
    openers = ["the", "a dog ran to the sea"]
    both = text_scores.continuations(*tiny_llama, openers, tokens=5, temperature=1e-4)
    each = [
        text_scores.continuations(*tiny_llama, [opener], tokens=5, temperature=1e-4)[0]
        for opener in openers
    ]
    assert both == each


def test_keywords_are_whole_words_in_any_case():
    texts = ["A GOAL!", "the goalpost", "no", "own-goal, he said", "goal's"]
    assert text_scores.with_keyword(texts, {"goal"}) == 2
    assert text_scores.with_keyword([], {"goal"}) == 0


def test_the_lexicon_knows_friend_from_foe():
    hostile, friendly, none = text_scores.tone(["You stupid idiot.", "Thank you, dear friend.", ""])
    assert hostile < -0.4 < 0.4 < friendly
    assert none == 0

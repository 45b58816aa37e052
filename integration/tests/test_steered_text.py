import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tenfold import steered_text
from tenfold.data import language, sentences
from tenfold.data.sentences import Sides, Task
from tenfold.steered_text import CONTROL, FOLDABLE, LINEAR, MEAN, Arm, Effect, Held
from tenfold.text_scores import Scores

NAMES = [f"s{n}" for n in range(12)], [f"t{n}" for n in range(9)]


@given(few=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_draw_takes_so_many_of_each_side_and_none_twice(few, seed):
    source, target = steered_text.chosen(Sides(*map(tuple, NAMES)), few, seed)
    assert len(set(source)) == len(set(target)) == few
    assert set(source) <= set(NAMES[0])
    assert set(target) <= set(NAMES[1])
    again = steered_text.chosen(Sides(*map(tuple, NAMES)), few, seed)
    assert (source, target) == again


def test_draws_of_other_seeds_differ_and_without_a_number_all_are_taken():
    sides = Sides(*map(tuple, NAMES))
    draws = {tuple(steered_text.chosen(sides, 6, seed)[0]) for seed in range(5)}
    assert len(draws) == 5
    assert steered_text.chosen(sides, None, 3) == NAMES
    with pytest.raises(ValueError, match="12 and 9; got 10"):
        steered_text.chosen(sides, 10, 0)


@given(n=st.integers(2, 12), m=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_control_keeps_the_sizes_and_holds_as_much_of_both_on_each_side(n, m, seed):
    source, target = steered_text.by_lot(NAMES[0][:n], NAMES[1][:m], seed)
    assert sorted(source + target) == sorted(NAMES[0][:n] + NAMES[1][:m])
    assert (len(source), len(target)) == (n, m)
    swapped = min(n, m) // 2
    assert sum(name[0] == "t" for name in source) == swapped
    assert sum(name[0] == "s" for name in target) == swapped


@pytest.fixture(scope="module")
def task():
    fit = Sides(
        ("the cat sat", "one sat on the cat", "what cat sat", "two cat and one cat", "a cat sat",
         "the cat and a cat", "one cat sat on two", "who sat on the cat"),
        ("a dog ran", "the dog ran to the sea", "who ran to a dog", "two dog ran", "the dog",
         "one dog and a dog", "what dog ran to two", "dog and dog ran"),
    )  # fmt: skip
    return Task("tiny", "dogs", fit, fit.few(4), frozenset({"dog"}))


ARMS = [LINEAR, MEAN, FOLDABLE, CONTROL, Arm("gaussian", "norms", "minmax"),
        Arm("aura", "norms", "all")]  # fmt: skip


@pytest.mark.filterwarnings("ignore::act_steer.DegenerateWarning")  # AurA sees maxima
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_strength_zero_is_no_effect_and_the_model_comes_out_as_it_went_in(tiny_llama, task, arm):
    model, _ = tiny_llama
    ids = torch.tensor([[2, 3, 4, 5]])
    before = model(ids).logits
    steering = steered_text.fit_arm(*tiny_llama, task.fit, arm)
    plain = steered_text.held_out(*tiny_llama, task)
    none, full, less = steered_text.effects(
        *tiny_llama, task, steering, plain, strengths=(0.0, 1.0, -0.5)
    )
    assert none.contrast.value == none.target.value == none.source.value == 0
    assert none.perplexity.value == 1
    assert full.contrast.value != 0
    assert less.perplexity.value != 1
    assert torch.equal(model(ids).logits, before)


def test_an_effect_is_the_difference_of_the_mean_gains():
    ones = np.ones(3, int)
    zero = Held(*(Scores(np.zeros(3), ones) for _ in range(3)))
    now = Held(Scores(np.array([1.0, 2, 3]), ones), Scores(np.array([-1.0, 0, -2]), ones),
               Scores(np.log([0.5] * 3), ones))  # fmt: skip
    effect = Effect.of(0.5, now, zero)
    assert (effect.target.value, effect.source.value, effect.contrast.value) == (2, -1, 3)
    assert effect.perplexity.value == pytest.approx(2)
    assert "3.00" in str(effect)
    assert "x 2.00" in str(effect)


def test_a_table_has_a_row_a_strength_with_the_perplexity_beside(tiny_llama, task):
    steering = steered_text.fit_arm(*tiny_llama, task.fit, LINEAR)
    plain = steered_text.held_out(*tiny_llama, task)
    found = steered_text.effects(*tiny_llama, task, steering, plain)
    table = steered_text.to_table(LINEAR, found)
    assert table["strength"] == [0.25, 0.5, 0.75, 1.0]
    assert {len(column) for column in table.values()} == {4}
    assert table["maps"][0] == "Linear, norms"
    assert str(CONTROL) == "Linear, norms, labels by lot"
    assert str(FOLDABLE) == "Linear, attention, anywhere"


def test_samples_at_strength_zero_are_the_unsteered_ones(tiny_llama, task):
    steering = steered_text.fit_arm(*tiny_llama, task.fit, LINEAR)
    openers = ["the", "a dog"]
    some = dict(keywords=task.keywords, tokens=5, seed=1)
    plain = steered_text.sample(*tiny_llama, openers, steering=None, strength=1.0, **some)
    zero = steered_text.sample(*tiny_llama, openers, steering=steering, strength=0.0, **some)
    full = steered_text.sample(*tiny_llama, openers, steering=steering, strength=1.0, **some)
    assert plain.texts == zero.texts
    assert plain.perplexity == zero.perplexity
    assert full.texts != plain.texts
    assert plain.hits == sum("dog" in text for text in plain.texts)
    assert len(plain.tones) == 2


def test_all_strengths_in_one_batch_are_those_of_each_by_itself(tiny_llama, task, monkeypatch):
    greedy = functools.partial(steered_text.continuations, temperature=1e-4)
    monkeypatch.setattr(steered_text, "continuations", greedy)
    steering = steered_text.fit_arm(*tiny_llama, task.fit, LINEAR)
    openers, strengths = ["the", "a dog", "two cat"], (0.0, 0.5, 1.0)
    together = steered_text.samples(
        *tiny_llama, openers, task.keywords, steering, strengths, tokens=4
    )
    for found, strength in zip(together, strengths, strict=True):
        alone = steered_text.sample(
            *tiny_llama, openers, task.keywords, steering, strength, tokens=4
        )
        assert (found.strength, found.texts, found.hits) == (strength, alone.texts, alone.hits)
        assert found.perplexity == pytest.approx(alone.perplexity, rel=1e-4)
    assert together[0].texts != together[2].texts


def test_what_is_known_of_neutral_sentences_is_not_scored_again(tiny_llama, task):
    whole = steered_text.held_out(*tiny_llama, task)
    again = steered_text.held_out(*tiny_llama, task, known=whole.neutral)
    assert again.neutral is whole.neutral
    assert np.array_equal(again.target.total, whole.target.total)


@pytest.fixture(scope="module")
def smollm2():
    try:
        return language.smollm2()
    except language.ModelMissing as missing:
        pytest.skip(str(missing))


THRESHOLDS = {
    # task: least contrast and most perplexity at strength 0.5, and at 1. Set after the study,
    # whose three draws of 32 sentences gave more at less cost; here all 48 are fitted on.
    "football": ((0.4, 1.4), (0.8, 2.6)),
    "cooking": ((0.5, 1.5), (0.8, 4.5)),
    "sentiment": ((0.15, 1.25), (0.25, 2.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", THRESHOLDS)
def test_smollm2_follows_the_strength_on_sentences_that_were_not_fitted(smollm2, name):
    task = sentences.task(name)
    plain = steered_text.held_out(*smollm2, task)
    maps = steered_text.fit_arm(*smollm2, task.fit, LINEAR)
    half, full = steered_text.effects(*smollm2, task, maps, plain, strengths=(0.5, 1.0))
    for found, (least, most) in zip((half, full), THRESHOLDS[name], strict=True):
        assert found.contrast.value >= least
        assert found.contrast.low > 0
        assert found.perplexity.value <= most
    assert full.contrast.value > half.contrast.value
    control = steered_text.fit_arm(*smollm2, task.fit, CONTROL)
    (lot,) = steered_text.effects(*smollm2, task, control, plain, strengths=(1.0,))
    assert abs(lot.contrast.value) < full.contrast.value / 4


@pytest.mark.slow
def test_smollm2_writes_of_football_at_full_strength(smollm2):
    """48 sampled texts a strength, seeds 0 and 1; at strength 0 few have a keyword."""
    task = sentences.task("football")
    maps = steered_text.fit_arm(*smollm2, task.fit, LINEAR)
    hits = {
        strength: sum(
            steered_text.sample(
                *smollm2, task.openers, task.keywords, maps, strength, seed=seed
            ).hits
            for seed in (0, 1)
        )
        for strength in (0.0, 1.0)
    }
    assert hits[0.0] <= 10
    assert hits[1.0] >= 2 * max(hits[0.0], 6)

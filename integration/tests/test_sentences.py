import json

import pytest
from tenfold.data import sentences

TASKS = {name: sentences.task(name) for name in sentences.TASKS}
EACH = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))


def everything(task):
    return [s for sides in (task.fit, task.held_out) for s in (*sides.source, *sides.target)]


@EACH
def test_there_are_enough_sentences_on_every_side_and_none_twice(task):
    assert min(len(task.fit.source), len(task.fit.target)) >= 48
    assert min(len(task.held_out.source), len(task.held_out.target)) >= 32
    assert len(set(everything(task))) == len(everything(task))
    for sentence in everything(task):
        assert sentence[-1] in '.?!"', sentence
        assert 2 <= len(sentence.split()) <= 22, sentence


@EACH
def test_no_four_words_in_a_row_stand_both_in_what_is_fitted_and_in_what_is_scored(task):
    def fours(sides):
        found = set()
        for sentence in (*sides.source, *sides.target):
            words = [word.strip(".,?!\"'").lower() for word in sentence.split()]
            found |= {tuple(words[i : i + 4]) for i in range(len(words) - 3)}
        return found

    assert not fours(task.fit) & fours(task.held_out)


def test_neutral_sentences_hold_no_word_of_a_concept():
    assert len(sentences.neutral()) >= 32
    assert len(sentences.openers()) >= 24
    for name in ("football", "cooking"):
        contrast = TASKS[name].held_out.source + TASKS[name].fit.source
        for line in (*sentences.neutral(), *sentences.openers(), *contrast):
            words = {word.strip(".,?!\"'").lower() for word in line.split()}
            assert not words & TASKS[name].keywords - {"salt", "bowl", "oil"}, line


def test_keywords_tell_the_held_out_targets_from_the_sources():
    for name in ("football", "cooking"):

        def share(side, keywords=TASKS[name].keywords):
            hits = [keywords & {w.strip(".,?!\"'").lower() for w in s.split()} for s in side]
            return sum(map(bool, hits)) / len(hits)

        sides = TASKS[name].held_out
        assert share(sides.target) > 0.6
        assert share(sides.source) < 0.1


def test_only_toxicity_has_beginnings_of_its_own():
    assert len(TASKS["toxicity"].openers) >= 24
    assert TASKS["football"].openers == TASKS["truth"].openers == sentences.openers()
    assert not set(TASKS["toxicity"].openers) & set(sentences.openers())


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match=r"football, cooking, .* got 'chess'"):
        sentences.task("chess")


def test_our_questions_have_one_best_answer_that_is_also_among_the_true_ones():
    questions = sentences.questions()
    assert len(questions) >= 40
    for question in questions:
        best = next(answer for answer, true in question.one.items() if true)
        assert question.many[best]
        assert sum(question.many.values()) >= 2


ENTRY = {
    "question": "Is it so?",
    "mc1_targets": {"Yes.": 1, "No.": 0},
    "mc2_targets": {"Yes.": 1, "Indeed.": 1, "No.": 0},
}


def written(folder, *entries):
    path = folder / "mc_task.json"
    path.write_text(json.dumps(entries))
    return path


def test_both_forms_of_truthfulqas_file_are_read_alike(tmp_path):
    listed = {
        "question": "Is it so?",
        "mc1_targets": {"choices": ["Yes.", "No."], "labels": [1, 0]},
        "mc2_targets": {"choices": ["Yes.", "Indeed.", "No."], "labels": [1, 1, 0]},
    }
    first, second = sentences.questions(written(tmp_path, ENTRY, listed))
    assert first == second
    assert first.many == {"Yes.": True, "Indeed.": True, "No.": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mc1_targets": {"Yes.": 0, "No.": 0}}, "MC1 of 'Is it so"),
        ({"mc1_targets": {"Yes.": 1, "No.": 1}}, "MC1 of 'Is it so"),
        ({"mc2_targets": {"Yes.": 1}}, "MC2 of 'Is it so"),
    ],
)
def test_questions_that_allow_no_choice_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        sentences.questions(written(tmp_path, ENTRY | change))


def test_an_entry_without_answers_is_named_by_its_number(tmp_path):
    with pytest.raises(ValueError, match="entry 1 has no mc1_targets, mc2_targets"):
        sentences.questions(written(tmp_path, ENTRY, {"question": "And?"}))

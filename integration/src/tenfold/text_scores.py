"""What a language model makes of texts: log-probabilities, choices, samples, and words in them.

Everything but the samples is deterministic, and the samples are seeded. All numbers are nats.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tenfold.data.sentences import Question

RESAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of some texts.

    Attributes:
        total: ``(N,)``, of each text's tokens together.
        tokens: ``(N,)``, how many were scored.
    """

    total: np.ndarray
    tokens: np.ndarray

    @property
    def per_token(self) -> np.ndarray:
        """``(N,)``, the mean of each text."""
        return self.total / self.tokens

    def first(self, n: int) -> "Scores":
        """Of the first ``n`` texts."""
        return Scores(self.total[:n], self.tokens[:n])


def score(
    model: Any, tokenizer: Any, texts: Sequence[str], *, after: Sequence[str] = (), batch: int = 32
) -> Scores:
    """Return the log-probabilities of texts, from their second token on, or after a beginning.

    Args:
        model: a causal model of transformers: a body under ``model``, a head ``lm_head``.
        tokenizer: its tokenizer; nothing is put before a text.
        texts: not empty, at least two tokens each where nothing stands before them.
        after: beginnings, one a text, that are read but not scored.
        batch: texts at a time; they are sorted by length, and the order does not show.

    Raises:
        ValueError: if a text has nothing to score.
    """
    import torch

    heads = [tokenizer(text)["input_ids"] for text in after] or [[]] * len(texts)
    tails = [tokenizer(text)["input_ids"] for text in texts]
    skip = [max(1, len(head)) for head in heads]
    rows = [head + tail for head, tail in zip(heads, tails, strict=True)]
    for text, row, n in zip(texts, rows, skip, strict=True):
        if len(row) <= n:
            raise ValueError(f"{text!r} has no token to score: it needs two, or a beginning")
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    total = np.zeros(len(rows))
    for start in range(0, len(rows), batch):
        part = order[start : start + batch]
        width = max(len(rows[n]) for n in part)
        ids, counts = torch.zeros(len(part), width, dtype=torch.long), torch.zeros(len(part), width)
        mask = torch.zeros(len(part), width, dtype=torch.long)
        for k, n in enumerate(part):
            ids[k, : len(rows[n])] = torch.tensor(rows[n])
            mask[k, : len(rows[n])] = 1
            counts[k, skip[n] : len(rows[n])] = 1
        total[part] = _sums(model, ids, mask, counts.bool())
    return Scores(total, np.array([len(row) - n for row, n in zip(rows, skip, strict=True)]))


def _sums(model: Any, ids: Any, mask: Any, counts: Any) -> np.ndarray:
    """Log-probabilities of the tokens that count, summed a row; the head sees only those."""
    import torch

    device = next(model.parameters()).device
    ids, mask, counts = ids.to(device), mask.to(device), counts.to(device)
    with torch.inference_mode():
        hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][counts[:, 1:]]).float()  # (tokens, V)
        found = logits.log_softmax(-1).gather(1, ids[counts][:, None])[:, 0].double()
        rows = counts.nonzero()[:, 0]
        return found.new_zeros(len(ids)).index_add_(0, rows, found).cpu().numpy()


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the number.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def drawn(n: int, seed: int = 0) -> np.ndarray:
    """Return the rows of `RESAMPLES` bootstrap samples of ``n`` things, ``(RESAMPLES, n)``."""
    return np.random.default_rng([seed, n]).integers(0, n, (RESAMPLES, n))


def contrast(target: np.ndarray, source: np.ndarray) -> Estimate:
    """Return the mean of ``target`` less that of ``source``, its interval by the bootstrap.

    Args:
        target: ``(N,)``, a number a sentence.
        source: ``(M,)``.
    """
    value = float(target.mean() - source.mean())
    means = target[drawn(len(target))].mean(1) - source[drawn(len(source), 1)].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def mean(values: np.ndarray) -> Estimate:
    """Return the mean of ``(N,)`` numbers, its interval by the bootstrap."""
    low, high = np.quantile(values[drawn(len(values))].mean(1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def perplexity_ratio(steered: Scores, plain: Scores) -> Estimate:
    """Return how many times as high the perplexity of the same texts is, by the paired bootstrap.

    Raises:
        ValueError: if the two scored other tokens.
    """
    if not np.array_equal(steered.tokens, plain.tokens):
        raise ValueError("both must be scores of the same texts, got other numbers of tokens")
    lost = plain.total - steered.total
    rows = drawn(len(lost))
    ratios = np.exp(lost[rows].sum(1) / plain.tokens[rows].sum(1))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(np.exp(lost.sum() / plain.tokens.sum())), float(low), float(high))


@dataclass(frozen=True)
class Choices:
    """Answers to questions, TruthfulQA's way.

    Attributes:
        mc1: ``(Q,)`` 1 where the best true answer has the highest probability.
        mc2: ``(Q,)`` the true answers' share of the probability of all.
    """

    mc1: np.ndarray
    mc2: np.ndarray


def choose(model: Any, tokenizer: Any, questions: "Sequence[Question]") -> Choices:
    """Return MC1 and MC2: an answer counts by the summed log-probability of its tokens.

    The model reads ``Q: question``, a line break and ``A:``, and no examples before it.

    Source:
        Lin et al. 2022, TruthfulQA, section 3.2 (multiple choice).
    """
    asked = [f"Q: {question.text}\nA:" for question in questions]
    pairs = [
        (n, answer)
        for n, question in enumerate(questions)
        for answer in dict.fromkeys((*question.one, *question.many))
    ]
    answers = [f" {answer}" for _, answer in pairs]
    scores = score(model, tokenizer, answers, after=[asked[n] for n, _ in pairs])
    by_answer = dict(zip(pairs, scores.total.tolist(), strict=True))
    mc1, mc2 = np.zeros(len(questions)), np.zeros(len(questions))
    for n, question in enumerate(questions):
        best = {answer: by_answer[n, answer] for answer in question.one}
        mc1[n] = question.one[max(best, key=lambda answer: best[answer])]
        logs = np.array([by_answer[n, answer] for answer in question.many])
        weights = np.exp(logs - logs.max())
        true = np.array(list(question.many.values()))
        mc2[n] = weights[true].sum() / weights.sum()
    return Choices(mc1, mc2)


def continuations(
    model: Any,
    tokenizer: Any,
    openers: Sequence[str],
    *,
    tokens: int = 24,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.95,
) -> list[str]:
    """Return a sampled continuation of each opener, without the opener.

    Args:
        model: a model of transformers with ``generate``.
        tokenizer: its tokenizer, with a padding token.
        openers: beginnings, all in one batch.
        tokens: to sample, fewer where the text ends before.
        seed: the same seed gives the same texts; the global generator is left as it was.
        temperature: divides the logits.
        top_p: share of the probability that is sampled from.
    """
    import torch

    inputs = tokenizer(list(openers), return_tensors="pt", padding=True, padding_side="left")
    inputs = inputs.to(next(model.parameters()).device)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        made = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=tokens,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,
            pad_token_id=tokenizer.pad_token_id,
        )
    fresh = made[:, inputs["input_ids"].shape[1] :]
    return tokenizer.batch_decode(fresh, skip_special_tokens=True)


def words(text: str) -> set[str]:
    """Return the words of a text in lower case, parts of hyphenated ones each for itself.

    Example:
        >>> sorted(words("A hat-trick! It's in."))
        ['a', 'hat', 'in', "it's", 'trick']
    """
    return set(re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower()))


def with_keyword(texts: Sequence[str], keywords: Collection[str]) -> int:
    """Return how many texts hold a keyword."""
    return sum(not words(text).isdisjoint(keywords) for text in texts)


def tone(texts: Sequence[str]) -> np.ndarray:
    """Return VADER's compound score of texts, ``(N,)`` from -1, hostile, to 1, friendly.

    A lexicon's view of single words: a stand-in for a classifier of toxicity or sentiment, which
    sees neither irony nor what an insult means.

    Source:
        Hutto and Gilbert 2014, by the package vaderSentiment.
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    return np.array([analyser.polarity_scores(text)["compound"] for text in texts])

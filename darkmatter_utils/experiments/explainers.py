"""Explainers of latents: a lexical one that needs nothing, and a language model behind any endpoint.

The lexical one says which tokens, after which tokens, or among which words a latent fires. It knows words,
not meanings: where it fails, a language model might still find what a latent responds to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..base import cache
from ..base.errors import BadInput
from ..base.values import write_atomic
from .interp import Judgement, Task

PRIOR = 4.0
"""Windows' worth of the text's own frequencies that every count starts from."""
VIEWS = ("token", "token and the one before", "words around", "all of them")
"""What an explanation can be made of, simplest first; chosen on the windows that it learns from."""
NAMED = 4
"""Tokens that the words of an explanation name, at most."""
SHOWN, AT_ONCE = 20, 10
"""Windows that a language model is shown, and that it is asked about in one question."""
ASK = (
    "You study one unit of a neural network. Below are pieces of text in which it is active; the tokens at "
    "which it is active are marked <<like this>>. Say in one sentence, of at most 30 words, what it responds "
    "to. Answer with that sentence only."
)
FIND = (
    "A unit of a neural network is said to respond to the following:\n{explanation}\n\nHere are {n} pieces "
    "of text. For each, say whether the unit is active somewhere in it. Answer with a JSON list of {n} "
    "numbers, 1 for yes and 0 for no, and nothing else."
)
Decode = Callable[[Sequence[int]], list[str]]
"""From token ids to their texts."""


class Evidence(NamedTuple):
    """Log-ratios of how often a latent prefers a token against how often the text has it."""

    at: Float[np.ndarray, "vocabulary"]
    """At the peak."""
    before: Float[np.ndarray, "vocabulary"]
    """One token before the peak."""
    around: Float[np.ndarray, "vocabulary"]
    """Anywhere in the window."""

    def scores(self, windows: Int[np.ndarray, "window length"]) -> dict[str, Float[np.ndarray, "window"]]:
        """How much each view speaks for each window, by its best token: a peak may be anywhere."""
        at, before = self.at[windows], np.zeros(windows.shape)
        before[:, 1:] = self.before[windows[:, :-1]]
        around = self.around[windows].mean(1)
        pair = (at + before).max(1)
        return dict(zip(VIEWS, (at.max(1), pair, around, pair + around), strict=True))


class Lexical:
    """The lexical explainer of one text. Call it with tasks."""

    def __init__(self, tokens: Int[np.ndarray, "..."], *, vocabulary: int, decode: Decode):
        """``tokens``: of the text, for the frequencies that a latent's own are held against."""
        counts = np.bincount(tokens.ravel(), minlength=vocabulary) + 0.5
        self.frequency, self.decode = counts / counts.sum(), decode

    def __call__(self, tasks: Sequence[Task]) -> list[Judgement]:
        """A judgement of each task, a millisecond or two each."""
        return [self.judge(task) for task in tasks]

    def judge(self, task: Task) -> Judgement:
        """Learn from the shown windows what tells them from the silent ones; say it of the tested.

        View and threshold are chosen by balanced accuracy on shown windows whose counts were left out (two
        halves, each scored by the other's counts); the counts then come from all of them.
        """
        first, best = np.arange(len(task.shown)) % 2 == 0, {}
        halves = [self.learn(task.shown[half], task.strength[half]) for half in (first, ~first)]
        seen = [by.scores(task.shown[half]) for by, half in zip(halves, (~first, first), strict=True)]
        quiet = [by.scores(task.silent) for by in halves]
        for view in VIEWS:
            best[view] = threshold(*(np.concatenate([s[view] for s in some]) for some in (seen, quiet)))
        view = max(VIEWS, key=lambda v: best[v][1])
        evidence = self.learn(task.shown, task.strength)
        said = evidence.scores(task.tested)[view] > best[view][0]
        return Judgement(self._words(task, view, evidence), said.astype(float))

    def learn(
        self, shown: Int[np.ndarray, "window length"], strength: Float[np.ndarray, "window length"]
    ) -> Evidence:
        """Evidence from windows in which the latent fires."""
        around = self._ratio(shown.ravel(), per=shown.shape[1])
        return Evidence(*map(self._ratio, _at_and_before(shown, strength)), around)

    def _ratio(self, tokens: np.ndarray, *, per: int = 1) -> np.ndarray:
        prior = PRIOR * per
        counts = np.bincount(tokens, minlength=len(self.frequency))
        return np.log((counts / self.frequency + prior) / (len(tokens) + prior))

    def _words(self, task: Task, view: str, evidence: Evidence) -> str:
        """The explanation: the commonest tokens at the peak and those before it, with their shares."""
        (at, before), parts = _at_and_before(task.shown, task.strength), []
        if view != VIEWS[2]:
            parts.append("at " + self._named(at))
        if view in VIEWS[1::2]:
            parts.append("after " + self._named(before))
        if view in VIEWS[2:]:
            likely = np.argsort(-evidence.around, kind="stable")[:NAMED]
            parts.append("among " + " ".join(_quoted(t) for t in self.decode(likely)))
        return "; ".join(parts)

    def _named(self, tokens: np.ndarray) -> str:
        ids, counts = np.unique(tokens, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:NAMED]
        shares = (100 * counts[order] / len(tokens)).tolist()
        return ", ".join(f"{_quoted(t)} {share:.0f}%" for t, share in zip(self.decode(ids[order]), shares))


def _at_and_before(shown: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each window's token at the peak, and the one before it where there is one."""
    peak, rows = strength.argmax(1), np.arange(len(shown))
    inside = peak > 0
    return shown[rows, peak], shown[rows[inside], peak[inside] - 1]


def threshold(yes: Float[np.ndarray, "a"], no: Float[np.ndarray, "b"]) -> tuple[float, float]:
    """(threshold, balanced accuracy) that tell two sets of scores apart best, midway between two scores."""
    scores = np.concatenate([yes, no])
    order = np.argsort(scores, kind="stable")
    found = np.r_[np.full(len(yes), 1 / len(yes)), np.full(len(no), -1 / len(no))][order]
    gain = np.r_[0.0, -found.cumsum()]  # of saying no up to here, over always saying yes
    ordered = scores[order]
    cut = np.r_[True, ordered[1:] > ordered[:-1], True]
    best = int(np.argmax(np.where(cut, gain, -np.inf)))
    ends = np.r_[ordered[0] - 1, ordered, ordered[-1] + 1]
    return float((ends[best] + ends[best + 1]) / 2), float(0.5 + gain[best] / 2)


class Chat:
    """A language model that explains latents and detects them, asked through an OpenAI-compatible endpoint.

    Each answer is kept on disk under the digest of its question (endpoint, model, messages), so that a re-run
    asks nothing twice; a question that got no answer is not kept. The openai client retries with exponential
    backoff, after Retry-After where the server says so. An answer that cannot be read, or none, counts as a
    tossed coin for its windows: ``counts`` says how many there were.
    """

    def __init__(
        self,
        model: str,
        *,
        decode: Decode,
        endpoint: str | None = None,
        key: str | None = None,
        at_once: int = 8,
        timeout: float = 60.0,
        retries: int = 6,
        folder: Path | None = None,
    ):
        """``endpoint``: base URL (by default OPENAI_BASE_URL); ``key``: by default OPENAI_API_KEY; a local
        server needs none. ``at_once``: questions under way at a time, at most. ``timeout``: seconds for one
        attempt. ``folder``: of the answers. Raises BadInput without the openai package."""
        try:
            import openai
        except ImportError:
            raise BadInput(
                "a language model as explainer needs the openai package: pip install 'darkmatter-utils[llm]'"
            ) from None
        self.model, self.decode, self.at_once = model, decode, at_once
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        self.client = openai.OpenAI(api_key=key, base_url=endpoint, timeout=timeout, max_retries=retries)
        self.endpoint = str(self.client.base_url)
        self.folder = folder or cache.cache_folder() / "answers"
        self.counts = {"asked": 0, "kept": 0, "unanswered": 0, "unreadable": 0}
        self._last, self._lock = "", Lock()

    def __call__(self, tasks: Sequence[Task]) -> list[Judgement]:
        """A judgement of each task. Raises BadInput where the endpoint refuses, or answers nothing at all."""
        before = dict(self.counts)
        with ThreadPoolExecutor(self.at_once) as pool:
            explained = list(pool.map(self._explain, tasks))
            asked = [(i, k) for i, one in enumerate(tasks) for k in range(0, len(one.tested), AT_ONCE)]
            detect = lambda ask: self._detect(explained[ask[0]], tasks[ask[0]].tested[ask[1] :][:AT_ONCE])
            found = list(pool.map(detect, asked))
        asked_now, lost = (self.counts[name] - before[name] for name in ("asked", "unanswered"))
        if lost and lost == asked_now:
            raise BadInput(f"{self.endpoint} answered none of {lost} questions; the last error: {self._last}")
        said = [np.full(len(one.tested), 0.5) for one in tasks]
        for (i, k), answers in zip(asked, found, strict=True):
            said[i][k : k + AT_ONCE] = answers
        return [Judgement(text, values) for text, values in zip(explained, said, strict=True)]

    def _explain(self, task: Task) -> str:
        lines = [self._marked(*pair) for pair in zip(task.shown[:SHOWN], task.strength[:SHOWN])]
        answer = self._ask(f"{ASK}\n\n" + "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1)))
        text = " ".join((answer or "").split())[:300]
        if answer is not None and not text:
            self._count("unreadable")
        return text

    def _detect(self, explanation: str, windows: np.ndarray) -> np.ndarray:
        if not explanation:  # nothing to go by: told above
            return np.full(len(windows), 0.5)
        lines = "\n".join(f"{i}. {_line(''.join(self.decode(w)))}" for i, w in enumerate(windows, 1))
        answer = self._ask(f"{FIND.format(explanation=explanation, n=len(windows))}\n\n{lines}")
        read = read_answers(answer or "", len(windows))
        if answer is not None and read is None:
            self._count("unreadable")
        return np.full(len(windows), 0.5) if read is None else read

    def _marked(self, window: np.ndarray, strength: np.ndarray) -> str:
        texts = self.decode(window)
        return _line("".join(f"<<{t}>>" if s > 0 else t for t, s in zip(texts, strength, strict=True)))

    def _ask(self, words: str) -> str | None:
        """The answer to a question, from the disk where it was asked before; None where there was none."""
        import openai

        asked = dict(model=self.model, temperature=0.0, messages=[dict(role="user", content=words)])
        question = json.dumps(dict(endpoint=self.endpoint, **asked), sort_keys=True)
        path = self.folder / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
        try:
            answer = json.loads(path.read_text())["answer"]
            self._count("kept")
            return answer
        except (OSError, ValueError, KeyError):
            self._count("asked")
        try:
            answer = self.client.chat.completions.create(**asked).choices[0].message.content or ""
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise BadInput(f"{self.endpoint} refuses model {self.model}: {_line(str(error))[:200]}") from None
        except (openai.OpenAIError, AttributeError, IndexError, TypeError, ValueError) as error:
            self._last = f"{type(error).__name__}: {_line(str(error))[:160]}"
            self._count("unanswered")
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(dict(answer=answer, model=self.model)))
        return answer

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


def read_answers(text: str, n: int) -> np.ndarray | None:
    """n answers, 1 or 0, out of what a model wrote: a list in brackets or one yes or no a line; else None."""
    words = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
    for inside in re.findall(r"\[([^\[\]]*)\]", text):
        read = [words.get(item.strip(" \n\t\"'").lower()) for item in inside.split(",")]
        if len(read) == n and None not in read:
            return np.array(read)
    lines = re.findall(r"^\W*\d+\s*[.:)\-]\s*\W*(yes|no|true|false|1|0)\b", text.lower(), flags=re.MULTILINE)
    return np.array([words[word] for word in lines]) if len(lines) == n else None


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")


def _quoted(text: str) -> str:
    return f"‘{_line(text)}’"


def named(explainer: str, *, decode: Decode, endpoint: str | None = None) -> Chat | None:
    """What a chapter's parameter stands for: "lexical" the default (None), anything else a model's name."""
    return None if explainer == "lexical" else Chat(explainer, decode=decode, endpoint=endpoint)

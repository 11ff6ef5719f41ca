"""Explainers of latents: a lexical one that needs nothing, and a language model behind any OpenAI-compatible
endpoint."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from ..base import cache
from ..base.errors import BadInput
from ..base.values import write_atomic
from .interp import Judgement, Task

SHOWN = 20
"""Windows that a language model is shown."""
AT_ONCE = 10
"""Windows that it is asked about in one question."""
ASK = (
    "You study one unit of a neural network. Below are pieces of text in which it is active; the "
    "tokens at which it is "
    "active are marked <<like this>>. Say in one sentence, of at most 30 words, what it responds to. "
    "Answer with that "
    "sentence only."
)
FIND = (
    "A unit of a neural network is said to respond to the following:\n{explanation}\n\nHere are {n} "
    "pieces of text. For each, "
    "say whether the unit is active somewhere in it. Answer with a JSON list of {n} numbers, 1 for yes "
    "and 0 for no, and "
    "nothing else."
)


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
        decode: Callable[[Sequence[int]], list[str]],
        endpoint: str | None = None,
        key: str | None = None,
        at_once: int = 8,
        timeout: float = 60.0,
        retries: int = 6,
        folder: Path | None = None,
    ):
        """``decode``: from token ids to their texts. ``endpoint``: base URL (by default OPENAI_BASE_URL);
        ``key``: by default OPENAI_API_KEY; a local server needs none. ``at_once``: questions under way at a
        time, at most. ``timeout``: seconds for one attempt. ``folder``: of the answers. Raises BadInput
        without the openai package."""
        try:
            import openai
        except ImportError:
            raise BadInput(
                "a language model as explainer needs the openai package: pip install 'darkmatter-utils[llm]'"
            ) from None
        self.model, self.decode, self.at_once = model, decode, at_once
        self.client = openai.OpenAI(
            api_key=key or os.environ.get("OPENAI_API_KEY") or "none",
            base_url=endpoint,
            timeout=timeout,
            max_retries=retries,
        )
        self.endpoint = str(self.client.base_url)
        self.folder = folder or cache.cache_folder() / "answers"
        self.counts = {"asked": 0, "kept": 0, "unanswered": 0, "unreadable": 0}
        self._last, self._lock = "", Lock()

    def __call__(self, tasks: Sequence[Task]) -> list[Judgement]:
        """A judgement of each task. Raises BadInput where the endpoint refuses, or answers nothing at all."""
        before = dict(self.counts)
        with ThreadPoolExecutor(self.at_once) as pool:
            explained = list(pool.map(self._explain, tasks))
            asked = [(i, rows) for i, one in enumerate(tasks) for rows in _parts(len(one.tested), AT_ONCE)]
            found = list(
                pool.map(lambda ask: self._detect(explained[ask[0]], tasks[ask[0]].tested[ask[1]]), asked)
            )
        asked_now, lost = (self.counts[name] - before[name] for name in ("asked", "unanswered"))
        if lost and lost == asked_now:
            raise BadInput(f"{self.endpoint} answered none of {lost} questions; the last error: {self._last}")
        said = [np.full(len(one.tested), 0.5) for one in tasks]
        for (i, rows), answers in zip(asked, found, strict=True):
            said[i][rows] = answers
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

        question = dict(
            endpoint=self.endpoint,
            model=self.model,
            temperature=0.0,
            messages=[dict(role="user", content=words)],
        )
        path = (
            self.folder / f"{hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()}.json"
        )
        try:
            answer = json.loads(path.read_text())["answer"]
            self._count("kept")
            return answer
        except (OSError, ValueError, KeyError):
            self._count("asked")
        try:
            made = self.client.chat.completions.create(
                **{k: v for k, v in question.items() if k != "endpoint"}
            )
            answer = made.choices[0].message.content or ""
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
    """n answers, 1 or 0 each, out of what a model wrote: a list in brackets, or one yes or no a line; None if
    it holds neither, or another number of them."""
    words = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
    for inside in re.findall(r"\[([^\[\]]*)\]", text):
        read = [words.get(item.strip(" \n\t\"'").lower()) for item in inside.split(",")]
        if len(read) == n and None not in read:
            return np.array(read)
    lines = re.findall(r"^\W*\d+\s*[.:)\-]\s*\W*(yes|no|true|false|1|0)\b", text.lower(), flags=re.MULTILINE)
    return np.array([words[word] for word in lines]) if len(lines) == n else None


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def named(
    explainer: str, *, decode: Callable[[Sequence[int]], list[str]], endpoint: str | None = None
) -> Chat | None:
    """What a chapter's parameter stands for: "lexical" is the default explainer (None), anything else a
    model's name."""
    return None if explainer == "lexical" else Chat(explainer, decode=decode, endpoint=endpoint)

"""A language model as explainer, against a real server on loopback that answers, fails, stalls and talks
nonsense."""

import json
import threading
import time

import numpy as np
import pytest
from endpoint import Server

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.experiments.explainers import Chat, read_answers
from darkmatter_utils.experiments.interp import Task, accuracies


@pytest.fixture
def serve():
    made = []

    def start(script):
        made.append(Server(script))
        return made[-1]

    yield start
    for server in made:
        server.stop()


def answer(words, times=1):
    """What a good model says: the unit responds to apples; a piece with an apple is one."""
    if "say whether" not in words:
        return 200, {}, "It responds to apples."
    pieces = words.split("\n\n")[-1].splitlines()
    return 200, {}, json.dumps([int("apple" in piece) for piece in pieces])


TEXT = ["apple", " pear", " nut", "\n"]


def decode(ids):
    return [TEXT[i] for i in ids]


def a_task(seed=0, tested=25):
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, (12, 4))
    shown[:, 1] = 0
    strength = (shown == 0) * 1.0
    windows = rng.integers(1, 4, (tested, 4))
    decile = np.arange(tested) % 11
    windows[decile > 0, 2] = 0
    return Task(shown, strength, windows[decile == 0], windows, decile, np.arange(tested))


def chat(server, tmp_path, **changes):
    settings = dict(
        decode=decode, endpoint=server.url, key="k", folder=tmp_path / "answers", timeout=5.0, retries=3
    )
    return Chat("m", **settings | changes)


def test_a_model_that_answers_is_right_and_a_second_run_asks_nothing(serve, tmp_path):
    server = serve(answer)
    tasks = [a_task(seed) for seed in range(3)]
    first = chat(server, tmp_path)
    found = first(tasks)
    assert [accuracies(t, j.said).min() for t, j in zip(tasks, found)] == [1.0] * 3
    assert {j.explanation for j in found} == {"It responds to apples."}
    assert first.counts == {"asked": 12, "kept": 0, "unanswered": 0, "unreadable": 0}
    asked = sum(server.asked.values())
    again = chat(server, tmp_path)
    for a, b in zip(again(tasks), found):
        assert np.array_equal(a.said, b.said) and a.explanation == b.explanation
    assert sum(server.asked.values()) == asked and again.counts["kept"] == 12 and again.counts["asked"] == 0
    chat(server, tmp_path, folder=tmp_path / "elsewhere")(tasks[:1])
    assert sum(server.asked.values()) == asked + 4


def test_what_the_model_is_shown(serve, tmp_path):
    server = serve(answer)
    chat(server, tmp_path)([a_task()])
    explain = next(w for w in server.asked if "say whether" not in w)
    find = next(w for w in server.asked if "say whether" in w)
    assert "<<apple>>" in explain and "<< pear>>" not in explain and len(explain.splitlines()) == 14
    assert "<<" not in find and "It responds to apples." in find and "⏎" in find
    assert all(line.count("\n") == 0 for line in find.split("\n\n")[-1].splitlines())


def test_failures_are_retried_after_the_time_that_the_server_names(serve, tmp_path):
    def script(words, times):
        if times == 1:
            return 429, {"Retry-After": "1"}, "slow down"
        if times == 2:
            return 500, {"retry-after-ms": "20"}, "oops"
        return answer(words)

    server = serve(script)
    made = chat(server, tmp_path, at_once=4)
    task = a_task(tested=11)
    (found,) = made([task])
    assert accuracies(task, found.said).min() == 1.0 and made.counts["unanswered"] == 0
    assert set(server.asked.values()) == {3}
    waited = np.diff(server.times[:3])
    assert waited[0] >= 0.99, "Retry-After: 1 is a second"
    assert waited[1] >= 0.015


def test_a_stalled_server_is_left_after_the_timeout_and_asked_again(serve, tmp_path):
    gate = threading.Event()

    def script(words, times):
        if times == 1:
            gate.wait(20)
        return answer(words)

    server = serve(script)
    made = chat(server, tmp_path, timeout=0.3)
    try:
        (found,) = made([a_task(tested=11)])
    finally:
        gate.set()
    assert found.said.sum() == 10 and made.counts["unanswered"] == 0
    assert set(server.asked.values()) == {2}


def test_nonsense_is_a_tossed_coin_and_is_counted(serve, tmp_path):
    def script(words, times):
        if "say whether" not in words:
            return answer(words)
        return 200, {}, "I would rather talk about pears: [1, 2, 3], or [1, 7]."

    server = serve(script)
    made = chat(server, tmp_path)
    task = a_task(tested=22)
    (found,) = made([task])
    assert np.array_equal(found.said, np.full(22, 0.5)) and np.array_equal(
        accuracies(task, found.said), np.full(10, 0.5)
    )
    assert made.counts == {"asked": 4, "kept": 0, "unanswered": 0, "unreadable": 3}
    again = chat(server, tmp_path)
    again([task])
    assert again.counts == {"asked": 0, "kept": 4, "unanswered": 0, "unreadable": 3}, (
        "counted again, asked no more"
    )


def test_an_empty_explanation_asks_no_further(serve, tmp_path):
    server = serve(lambda words, times: (200, {}, "  \n "))
    made = chat(server, tmp_path)
    (found,) = made([a_task()])
    assert found.explanation == "" and np.all(found.said == 0.5)
    assert made.counts == {"asked": 1, "kept": 0, "unanswered": 0, "unreadable": 1}


def test_a_body_that_is_no_answer_at_all_counts_as_unanswered_and_is_asked_anew(serve, tmp_path):
    broken = {"on": True}

    def script(words, times):
        if broken["on"] and "say whether" in words:
            return 200, {"raw": "yes"}, '{"choices": []}'
        return answer(words)

    server = serve(script)
    made = chat(server, tmp_path)
    (found,) = made([a_task(tested=10)])
    assert np.all(found.said == 0.5) and made.counts["unanswered"] == 1
    broken["on"] = False
    (found,) = chat(server, tmp_path)([a_task(tested=10)])
    assert found.said.sum() == 9, "a question without an answer is not kept"


def test_an_endpoint_that_always_fails_is_one_clear_error(serve, tmp_path):
    server = serve(lambda words, times: (503, {"retry-after-ms": "1"}, "down"))
    with pytest.raises(
        BadInput, match=r"answered none of \d+ questions; the last error: InternalServerError"
    ):
        chat(server, tmp_path, retries=1)([a_task(), a_task(1)])
    assert set(server.asked.values()) == {2}, "the first attempt and one retry"
    assert not list((tmp_path / "answers").glob("*"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_retried(serve, tmp_path, status):
    server = serve(lambda words, times: (status, {}, "no such model"))
    with pytest.raises(BadInput, match="refuses model m: .*no such model"):
        chat(server, tmp_path)([a_task()])
    assert sum(server.asked.values()) == 1


def test_no_more_questions_at_once_than_allowed(serve, tmp_path):
    def script(words, times):
        time.sleep(0.02)
        return answer(words)

    server = serve(script)
    chat(server, tmp_path, at_once=3)([a_task(seed, tested=60) for seed in range(4)])
    assert 1 < server.most <= 3 and sum(server.asked.values()) == 28


def test_a_damaged_answer_on_disk_is_asked_anew(serve, tmp_path):
    server = serve(answer)
    chat(server, tmp_path)([a_task()])
    kept = sorted((tmp_path / "answers").glob("*.json"))
    kept[0].write_text("{")
    made = chat(server, tmp_path)
    made([a_task()])
    assert made.counts["asked"] == 1 and made.counts["kept"] == len(kept) - 1


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[1, 0, 1]", [1, 0, 1]),
        ("```json\n[1,0,1]\n```", [1, 0, 1]),
        ('Here you are: [true, False, "yes"].', [1, 0, 1]),
        ("[1, 0] no, I mean [1, 0, 0]", [1, 0, 0]),
        ("1. yes\n2. No\n3) 1", [1, 0, 1]),
        ("1: **yes**\n2: no, it is not\n3: no", [1, 0, 0]),
        ("[1, 0]", None),
        ("[1, 0, 2]", None),
        ("[1, 0, ]", None),
        ("yes yes no", None),
        ("", None),
    ],
)
def test_answers_are_read_out_of_what_models_write(text, read):
    found = read_answers(text, 3)
    assert found is None if read is None else found.tolist() == read

"""The checker of whole histories finds each kind of anomaly, and passes what happened one after the other."""

from __future__ import annotations

import random

from tests.faults.appends import UNKNOWN, Step, anomalies


def wrote(token: int, *lists: str, called: float, returned: float = UNKNOWN, revision: int | None = None) -> Step:
    return Step(called, returned, token, lists, None, revision)


def read(called: float, returned: float, **seen: list[int]) -> Step:
    return Step(called, returned, seen=seen)


ONE = wrote(1, "a", "b", called=0, returned=1, revision=10)
TWO = wrote(2, "a", "b", called=2, returned=3, revision=11)


def test_steps_one_after_the_other_are_explained() -> None:
    history = [ONE, read(1.1, 1.2, a=[1], b=[1]), TWO, read(4, 5, a=[1, 2], b=[1, 2])]
    assert anomalies(history, {"a": [1, 2], "b": [1, 2]}) == []


def test_a_lost_append_is_found() -> None:
    assert anomalies([ONE, TWO], {"a": [2], "b": [2]}) == ["1 was acknowledged and is lost"]


def test_an_append_without_an_answer_may_be_there_or_not() -> None:
    unknown = wrote(3, "a", called=2)
    assert anomalies([ONE, unknown], {"a": [1], "b": [1]}) == []
    assert anomalies([ONE, unknown], {"a": [1, 3], "b": [1]}) == []


def test_an_append_that_was_refused_and_is_there_is_found() -> None:
    assert anomalies([Step(0, 1, 1, ("a",), void=True)], {"a": [1]}) == ["1 was refused and is there"]
    assert anomalies([Step(0, 1, 1, ("a",), void=True)], {"a": []}) == []


def test_a_doubled_append_is_found() -> None:
    assert "a holds a token twice" in anomalies([ONE], {"a": [1, 1], "b": [1]})


def test_a_torn_commit_is_found_at_the_end() -> None:
    assert "1 is in ['a'] and not in all of ['a', 'b']" in anomalies([ONE], {"a": [1], "b": []})


def test_a_torn_read_is_found() -> None:
    history = [ONE, read(0.5, 0.6, a=[1], b=[])]
    assert anomalies(history, {"a": [1], "b": [1]})[0].startswith("a cycle of ")


def test_a_read_that_went_back_is_found() -> None:
    slow = wrote(1, "a", called=0, returned=9, revision=10)
    assert anomalies([slow, read(1, 2, a=[1]), read(3, 4, a=[])], {"a": [1]})[0].startswith("a cycle of ")
    assert anomalies([slow, read(1, 2, a=[]), read(3, 4, a=[1])], {"a": [1]}) == []


def test_a_stale_read_is_found() -> None:
    assert anomalies([ONE, read(2, 3, a=[], b=[])], {"a": [1], "b": [1]})[0].startswith("a cycle of ")


def test_an_order_that_lists_do_not_share_is_found() -> None:
    both = [wrote(1, "a", "b", called=0, returned=9), wrote(2, "a", "b", called=0, returned=9)]
    assert anomalies(both, {"a": [1, 2], "b": [1, 2]}) == []
    assert anomalies(both, {"a": [1, 2], "b": [2, 1]})[0].startswith("a cycle of ")


def test_a_revision_out_of_order_is_found() -> None:
    assert "the revisions of a are not in its order" in anomalies([ONE, TWO], {"a": [2, 1], "b": [2, 1]})


def test_a_long_history_is_checked() -> None:
    chosen, lists, history = random.Random(1), {"a": list[int](), "b": list[int](), "c": list[int]()}, list[Step]()
    for token in range(2000):
        begun, ended = token - chosen.uniform(0, 6), token + chosen.uniform(0, 6)
        if chosen.random() < 0.5:
            names = chosen.sample(sorted(lists), 2)
            for name in names:
                lists[name].append(token)
            history.append(wrote(token, *names, called=begun, returned=ended, revision=token))
        else:
            history.append(read(begun, ended, **{name: list(tokens) for name, tokens in lists.items()}))
    assert anomalies(history, lists) == []
    number = next(number for number, step in enumerate(history) if number > 900 and step.seen is not None)
    torn = dict(history[number].seen or {})
    torn["a"] = torn["a"][:-40]
    history[number] = history[number]._replace(seen=torn)
    assert anomalies(history, lists)[0].startswith("a cycle of ")

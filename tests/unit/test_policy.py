"""Settings for what happens after runs: what can be set, what is refused, and what holds where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import InvalidData
from coordinator.rules import policy
from coordinator.rules.policy import BreakerPolicy, RetryPolicy


def test_where_nothing_is_set_the_defaults_hold() -> None:
    assert policy.retry_policy(None) == RetryPolicy(1_000, 300_000) == policy.retry_policy({})
    assert policy.breaker_policy(None) == BreakerPolicy(5, 600_000, 30_000, 600_000) == policy.breaker_policy({})


def test_each_setting_is_followed_by_itself() -> None:
    assert policy.retry_policy({"first": "250ms", "longest": 60}) == RetryPolicy(250, 60_000)
    assert policy.retry_policy({"longest": "1h", "first": None}) == RetryPolicy(1_000, 3_600_000)
    assert policy.breaker_policy({"failures": 0}).failures == 0
    assert policy.breaker_policy({"cooldown": "2m", "within": "1h"}) == BreakerPolicy(5, 3_600_000, 120_000, 600_000)


def test_what_is_not_ours_is_the_users_own() -> None:
    policy.check("review", 5)
    policy.check("retries", "anything")


@pytest.mark.parametrize(
    "name, value, path",
    [
        ("retry", 5, "config.retry"),
        ("retry", [], "config.retry"),
        ("retry", {"frist": "1s"}, "config.retry.frist"),
        ("retry", {"first": "soon"}, "config.retry.first"),
        ("retry", {"first": 0}, "config.retry.first"),
        ("retry", {"first": -1}, "config.retry.first"),
        ("retry", {"first": True}, "config.retry.first"),
        ("retry", {"first": []}, "config.retry.first"),
        ("retry", {"first": 1e300}, "config.retry.first"),
        ("retry", {"first": "10m"}, "config.retry.longest"),
        ("breaker", "off", "config.breaker"),
        ("breaker", {"failures": -1}, "config.breaker.failures"),
        ("breaker", {"failures": 2.5}, "config.breaker.failures"),
        ("breaker", {"failures": "5"}, "config.breaker.failures"),
        ("breaker", {"failures": 10**30}, "config.breaker.failures"),
        ("breaker", {"cooldown": "1h"}, "config.breaker.longest"),
        ("ageing", "soon", "config.ageing"),
        ("ageing", "100ms", "config.ageing"),
        ("ageing", "31d", "config.ageing"),
        ("ageing", {"level": "1h"}, "config.ageing"),
    ],
)
def test_what_says_nothing_is_refused_with_its_place_and_followed_as_if_it_were_not_there(
    name: str, value: Any, path: str
) -> None:
    with pytest.raises(InvalidData) as refused:
        policy.check(name, value)
    assert refused.value.facts["path"] == path
    assert refused.value.hint
    policies = {"retry": policy.retry_policy, "breaker": policy.breaker_policy, "ageing": policy.ageing_ms}
    followed: Callable[[Any], object] = policies[name]
    assert followed(value) == followed(None)

"""Secrets are taken out of texts, ordinary text stays as it is, and no text takes long."""

from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData
from coordinator.models.jsontext import Json
from coordinator.rules.redaction import MAX_PATTERNS, REDACTED, Redactor, compiled, open_key, patterns_of

WORD = "Zx9" * 12
KEY_LINES = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 26)
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINES}\nAbC=\n-----END RSA PRIVATE KEY-----"


def clean(text: str, *patterns: str, values: tuple[str, ...] = ()) -> str:
    return Redactor(patterns, values).text(text)


@pytest.mark.parametrize(
    "before, secret, after",
    [
        ("password=", "hunter22", ""),
        ("password = ", "hunter22", " # old"),
        ("PASSWORD: ", "hunter22", "\nnext"),
        ("DB_PASSWD=", "hunter22", ";"),
        ('{"password": "', "two words", '", "b": 1}'),
        ("{'api_key': '", "abcdef", "'}"),
        ('{\\"clientSecret\\": \\"', "abcdef", '\\"}'),
        ("?access_key=", "abcdef", "&x=1"),
        ("my-api-key: ", "abcdef", ""),
        ("token=", "a1b2c3", ")"),
        ("run --password ", "hunter22", " --host x"),
        ("redis://ann:", "hunter22", "@host:6379/0"),
        ("redis://:", "p@ss:wor", "@host"),
        ("Authorization: Bearer ", "abcdef.ghijkl-123", ""),
        ("authorization: basic ", "YW5uOmh1bnRlcjI=", ""),
        ("x ", f"ghp_{WORD}", "."),
        ("x ", f"github_pat_{WORD}", " y"),
        ("x ", f"glpat-{WORD}", " y"),
        ("x ", "xoxb-123456789012-abcdef", " y"),
        ("x ", f"sk-ant-api03-{WORD}", ", y"),
        ("x ", f"sk_live_{WORD}", " y"),
        ("x ", "AKIAIOSFODNN7EXAMPLE", " y"),
        ("x ", f"AIza{WORD}", " y"),
        ("x ", f"npm_{WORD}", " y"),
        ("x ", f"hf_{WORD}", " y"),
        ("x ", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1", " y"),
        ("the key:\n", KEY, "\nend"),
        ('{"key": "', KEY.replace("\n", "\\n"), '"}'),
        ("", KEY.replace("RSA ", "OPENSSH "), ""),
    ],
)
def test_a_secret_goes_and_what_is_around_it_stays(before: str, secret: str, after: str) -> None:
    seen = clean(before + secret + after)
    assert seen == before + REDACTED + after
    assert clean(seen) == seen, "what is clean stays as it is"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "building module 17 of 300: ok",
        "https://example.org/a?b=c#d and git@github.com:a/b.git",
        "input_tokens: 1234, output_tokens: 9, token count 12",
        '{"token": 1795690384393407}',
        "a password is asked for",
        "the secret of the key is a credential",
        "primary key=id",
        "monkey: 12 keyboard=us",
        "sk-short task-001 desk-lamp eyJust asia-pacific",
        "ratio 3:4@5 and mail a@b.c",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "pass=ok fail=no",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert clean(text) == text


def test_a_key_that_is_cut_off_at_either_end_goes_as_far_as_it_is_there() -> None:
    first, second = KEY[:700], KEY[700:]
    assert clean(f"a\n{first}") == f"a\n{REDACTED}"
    assert clean(f"{second}\nb") == f"{REDACTED}\nb"
    assert "MIIE" not in clean(f"{KEY}\nx\n{first}\n-- \n{KEY}\ny")
    assert clean("see -----BEGIN RSA PRIVATE KEY----- in it, said he").endswith(" in it, said he")


def test_where_a_key_begins_that_does_not_end_is_known() -> None:
    assert open_key(f"a\n{KEY[:200]}") == 2
    assert open_key(f"{KEY}\n") is None
    assert open_key("nothing") is None


def test_given_values_go_in_every_form_in_which_they_may_stand() -> None:
    value = 'pa"ss/wörd'
    redactor = Redactor((), [value])
    for form in (value, "pa%22ss%2Fw%C3%B6rd", 'pa\\"ss/w\\u00f6rd'):
        assert redactor.text(f"<{form}>") == f"<{REDACTED}>"
    assert clean("line one\nline two\n", values=("line one\nline two",)) == f"{REDACTED}\n"
    assert clean("x line two y", values=("line one\nline two",)) == f"x {REDACTED} y"


def test_a_short_value_is_left_alone() -> None:
    assert clean("a cat", values=("cat", "", "     \n ")) == "a cat"


# ------------------------------------------------------------------------------------------- a project's patterns


def test_a_project_s_pattern_goes_as_a_whole_or_by_its_group_secret() -> None:
    assert clean("id ACME-12345678 x", r"ACME-\d{8}") == f"id {REDACTED} x"
    assert clean("pin(1234) x", r"pin\((?P<secret>\d+)\)") == f"pin({REDACTED}) x"
    assert clean("foo=1 bar=2", r"(foo|bar)=\d") == f"{REDACTED} {REDACTED}"


def test_a_project_s_pattern_is_looked_for_within_each_line() -> None:
    assert clean("a<b\nc>d <e>", r"<[^>]*>") == f"a<b\nc>d {REDACTED}"
    assert clean("x\r\nx", r"x.*$") == f"{REDACTED}\r\n{REDACTED}"


def test_a_pattern_finds_what_stands_deep_in_a_long_text() -> None:
    text = ("word " * 20_000) + "ACME-12345678" + (" word" * 20_000)
    assert clean(text, r"ACME-\d{8}") == text.replace("ACME-12345678", REDACTED)


@pytest.mark.parametrize("patterns", ["x", {"a": 1}, [1], ["("], ["*"], [""], ["a*"], ["x" * 501], ["x"] * 51, [None]])
def test_what_is_no_list_of_patterns_is_refused(patterns: object) -> None:
    with pytest.raises(InvalidData, match=r"security\.redact") as caught:
        compiled(patterns)
    assert caught.value.hint


def test_the_configuration_says_nothing_else() -> None:
    assert patterns_of(None) == []
    assert patterns_of({}) == []
    assert patterns_of({"redact": ["a"] * MAX_PATTERNS}) == ["a"] * MAX_PATTERNS
    refused: tuple[Json, ...] = ([], "x", {"redacted": []}, {"redact": ["("]})
    for wrong in refused:
        with pytest.raises(InvalidData):
            patterns_of(wrong)


# ------------------------------------------------------------------------------------------------------- values


def test_a_value_keeps_its_form_and_loses_its_secrets() -> None:
    value = {
        "password": "x",
        "db_password": "",
        "n": 7,
        "token": 7,
        "next": [None, True, {"api_key": "abc", "note": "token=abcdef"}],
        f"ghp_{WORD}": 1,
    }
    assert Redactor().json(value) == {
        "password": REDACTED,
        "db_password": "",
        "n": 7,
        "token": 7,
        "next": [None, True, {"api_key": REDACTED, "note": f"token={REDACTED}"}],
        REDACTED: 1,
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.text(alphabet=string.printable + "äİ€𝄞", max_size=400))
def test_any_text_is_taken(text: str) -> None:
    seen = clean(text, r"q+z", values=("needle",))
    assert Redactor([r"q+z"], ["needle"]).json(text) == seen


def test_characters_that_grow_in_lower_case_shift_nothing() -> None:
    assert clean("İİİ password=hunter22 İ") == f"İİİ password={REDACTED} İ"


HOSTILE = (
    "eyJ", "-eyJ", "eyJa.", "token", "token=", "token: ", "://a:", "://", "://:", "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nAAAAAAAA\n", "-----END PRIVATE KEY-----", "bearer ", "--token ", "sk-", "ghp_",
    "pypi-", "password='", 'password="\\', "\\n", "secret \t", "a", "a:b@", "\n",
)  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("start", ["", "password=", "-----BEGIN PRIVATE KEY-----", "://", "eyJ"])
def test_no_text_takes_more_time_than_in_proportion_to_its_length(start: str) -> None:
    for again in HOSTILE:  # a million characters: with the square of that, this would not end today
        clean(start + again * (1_000_000 // len(again)))

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from engine.errors import NotFoundError, SpecError
from engine.spec.validate import load_spec
from tests.spec_text import REGISTRY, SPEC, load, place, problem, problems


def test_the_spec_that_these_tests_break_is_valid():
    assert load(SPEC).spec.models["snaive"].options == {"season": 7}


def test_an_unknown_key_is_answered_with_the_closest_one_and_its_place():
    found = problem("horizon: 7", "horizon: 7\nquantile: [0.5]")
    assert place(found) == (8, 1, "quantile")
    assert found.message == "unknown key 'quantile'"
    assert found.hint.startswith("did you mean 'quantiles'?")


def test_an_unknown_key_of_a_section_offers_the_keys_of_that_section_only():
    found = problem("freq: 1d", "freq: 1d\n  mising: {y: drop}")
    assert place(found) == (7, 3, "data.mising")
    assert "did you mean 'missing'?" in found.hint
    assert "horizon" not in found.hint


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("horizon: 7", "horizon: seven", (7, 10, "horizon"), "must be an integer; given: 'seven'"),
        ("horizon: 7", 'horizon: "7"', (7, 10, "horizon"), "must be an integer; given: '7'"),
        ("horizon: 7", "horizon: 7.5", (7, 10, "horizon"), "must be an integer; given: 7.5"),
        ("horizon: 7", "horizon: true", (7, 10, "horizon"), "must be an integer; given: True"),
        ("horizon: 7", "horizon: 0", (7, 10, "horizon"), "greater than or equal to 1; given: 0"),
        ("[mae]", "mae", (10, 21, "evaluate.metrics"), "must be a list; given: 'mae'"),
        ("[mae]", "[]", (10, 21, "evaluate.metrics"), "must have at least 1 item"),
        ("name: tiny", "name: a/b", (2, 7, "name"), "must match pattern"),
        ("version: 1", "version: 2", (1, 10, "version"), "must be 1; given: 2"),
        ("freq: 1d", "freq: 1day", (6, 9, "data.freq"), "'1day' is not a frequency"),
        (
            "{use: seasonal_naive, season: 7}",
            "seasonal_naive",
            (9, 11, "models.snaive"),
            "must be a mapping of keys to values",
        ),
    ],
)
def test_a_wrong_type_or_value_says_what_it_must_be(old, new, where, said):
    found = problem(old, new)
    assert place(found) == where
    assert said in found.message


def test_a_missing_key_is_named():
    assert problem("horizon: 7\n", "").message == "key 'horizon' is missing"


def test_the_message_shows_the_line_and_points_at_the_column():
    with pytest.raises(SpecError) as caught:
        load(SPEC.replace("horizon: 7", "horizon: seven"))
    shown = str(caught.value).splitlines()
    assert shown[0] == "spec.yaml: 1 problem"
    assert shown[1].startswith("spec.yaml:7:10: ")
    assert shown[2] == "     7 | horizon: seven"
    assert shown[3].index("^") == shown[2].index("seven")


def test_a_duplicate_key_names_both_lines():
    found = problem("horizon: 7", "horizon: 7\nhorizon: 8")
    assert place(found) == (8, 1, "horizon")
    assert "first in line 7" in found.message


def test_a_tab_is_shown_where_it_stands():
    found = problem("  freq: 1d", "\tfreq: 1d")
    assert (found.line, found.column) == (6, 1)
    assert "tab" in found.message


def test_broken_yaml_gives_its_place():
    found = problem("horizon: 7", "horizon: {a: [}")
    assert (found.line, found.column) == (7, 15)
    assert found.message.startswith("not valid YAML")


@pytest.mark.parametrize("word", ["no", "yes", "No", "off", "ON"])
def test_words_that_some_readers_take_for_booleans_must_be_quoted(word):
    found = problem("name: tiny", f"name: {word}")
    assert "true or false" in found.message
    assert found.hint.endswith(f'quote it: "{word}"')
    assert load(SPEC.replace("name: tiny", f'name: "{word}"')).spec.name == word


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024-01-01", "is a date to some"),
        ("2024-1-1 10:00:00", "is a date to some"),
        ("0o17", "octal or hex"),
        ("0x1F", "octal or hex"),
        ("1:30", "base-60"),
    ],
)
def test_dates_octal_and_sexagesimal_numbers_must_be_quoted(value, said):
    found = problem("name: tiny", f"name: {value}")
    assert said in found.message
    assert f'"{value}"' in found.hint


def test_a_number_that_could_be_octal_is_one_problem_and_its_decimal_is_offered():
    assert problem("horizon: 7", "horizon: 07").hint == 'write 7, or quote it: "07"'


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_says_how_to_start(text):
    (found,) = problems(text)
    assert found.message == "the file is empty"
    assert "engine init" in found.hint


@pytest.mark.parametrize("text", ["- a\n- b\n", "tiny\n", "7\n"])
def test_a_file_that_is_no_mapping_is_refused(text):
    (found,) = problems(text)
    assert found.message == "a spec is a mapping of keys to values"


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {<<: *a}\n", "[" * 200 + "]" * 200])
def test_a_file_without_an_end_is_refused(text):
    assert len(problems(text)) == 1


def test_merged_keys_may_be_overridden_as_yaml_says():
    text = SPEC.replace("snaive: {", "snaive: &shared {")
    spec = load(text.replace("evaluate:", "  other: {<<: *shared, season: 3}\nevaluate:")).spec
    assert spec.models["other"].options == {"season": 3}


def test_a_merge_of_something_else_is_an_error():
    assert "takes a mapping" in problem("snaive: {", "snaive: {<<: 3, ").message


def test_a_missing_file_is_answered_with_a_near_name(tmp_path: Path):
    (tmp_path / "promo.yaml").write_text(SPEC)
    with pytest.raises(NotFoundError) as caught:
        load_spec(tmp_path / "prmo.yaml", REGISTRY)
    assert caught.value.exit_code == 4
    assert caught.value.hint == f"did you mean {tmp_path / 'promo.yaml'}?"


def test_a_folder_is_not_a_spec(tmp_path: Path):
    with pytest.raises(NotFoundError, match="is a folder, not a spec"):
        load_spec(tmp_path, REGISTRY)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00name", b"PAR1\x00\x15\x04"])
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "spec.yaml").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml", REGISTRY)
    assert len(caught.value.problems) == 1
    assert "text" in caught.value.problems[0].message


def test_an_unset_variable_is_one_problem_that_says_how_to_set_it(monkeypatch):
    monkeypatch.delenv("ENGINE_TEST_NAME", raising=False)
    found = problem("name: tiny", "name: ${ENGINE_TEST_NAME}")
    assert place(found) == (2, 7, "name")
    assert found.message == "environment variable 'ENGINE_TEST_NAME' is not set"
    assert "${ENGINE_TEST_NAME:-value}" in found.hint


@pytest.mark.parametrize(("value", "name"), [(None, "x-spare"), ("", "x-spare"), ("set", "x-set")])
def test_a_default_stands_in_for_a_variable_that_is_unset_or_empty(monkeypatch, value, name):
    monkeypatch.delenv("ENGINE_TEST_NAME", raising=False)
    if value is not None:
        monkeypatch.setenv("ENGINE_TEST_NAME", value)
    text = SPEC.replace("name: tiny", "name: x-${ENGINE_TEST_NAME:-spare}")
    assert load(text).spec.name == name


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    text = SPEC.replace("name: tiny", "name: no").replace("horizon: 7", "horizon: x\nhorizn: 1")
    text = text.replace("season: 7", "seson: 7").replace("[mae]", "[maee]")
    text += "select: {metric: wape}\n"
    assert [p.path for p in problems(text)] == [
        "name",
        "horizon",
        "horizn",
        "models.snaive.seson",
        "evaluate.metrics.0.use",
    ]


def test_names_that_other_sections_do_not_declare_are_all_told():
    text = SPEC + (
        "select: {metric: wape}\nrun: {fallback: ridge}\n"
        "expect: [{model: snaiv, metric: mea, better_than: arima}]\n"
    )
    found = {p.path: p for p in problems(text)}
    assert set(found) == {
        "select.metric",
        "run.fallback",
        "expect.0.model",
        "expect.0.metric",
        "expect.0.better_than",
    }
    assert "did you mean 'snaive'?" in found["expect.0.model"].hint
    assert place(found["select.metric"]) == (11, 18, "select.metric")


@given(st.floats(allow_nan=False).filter(lambda q: not 0 < q < 1))
@settings(max_examples=20, deadline=None)
def test_a_quantile_outside_0_and_1_is_refused(value: float):
    found = problem("horizon: 7", f"horizon: 7\nquantiles: [{value!r}]")
    assert found.path == "quantiles.0"


@given(st.lists(st.sampled_from([0.05, 0.1, 0.5, 0.9, 0.95]), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_quantiles_are_accepted_exactly_when_they_increase(values: list[float]):
    text = SPEC.replace("horizon: 7", f"horizon: 7\nquantiles: {values}")
    if all(a < b for a, b in itertools.pairwise(values)):
        assert load(text).spec.quantiles == values
    else:
        assert "must be increasing" in problems(text)[0].message


@pytest.mark.parametrize(
    ("covariates", "said"),
    [
        ("{future: [units]}", "'units' is both columns.y and covariates.future"),
        ("{past: [store]}", "'store' is both columns.unique_id and covariates.past"),
        (
            "{future: [price], static: [price]}",
            "'price' is both covariates.future and covariates.static",
        ),
        ("{future: [cutoff]}", "'cutoff', which the engine uses itself"),
    ],
)
def test_a_column_has_one_role(covariates, said):
    found = problem("freq: 1d", f"freq: 1d\n  covariates: {covariates}")
    assert said in found.message
    assert found.path.startswith("data.covariates.")
    assert found.line == 7


@pytest.mark.parametrize("buckets", ["[3, 5]", "[5, 3, 7]", "[3, 3, 7]", "[3, 7, 14]"])
def test_buckets_increase_and_end_in_the_horizon(buckets):
    found = problem("season: 7}", f"season: 7, buckets: {buckets}}}")
    assert place(found) == (9, 53, "models.snaive.buckets")
    assert "end in the horizon, 7" in found.message


def test_a_metric_named_twice_needs_another_name():
    assert problem("[mae]", "[mae, mae]").message == "metric 'mae' is named twice"

"""Recipes call no functions, and hold texts that files can hold."""

import json

import pytest
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError
from lavis.config.recipe_check import refuse_unwritable_text, resolve_references


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:MY_TOKEN}",
        "${oc.env:MY_TOKEN,fallback}",
        "before ${oc.env:MY_TOKEN} behind",
        "${oc.decode:${oc.env:MY_TOKEN}}",
        "${${run.name}:MY_TOKEN}",
        "${oc.select:${oc.env:MY_TOKEN}}",
        "${ oc.env : MY_TOKEN }",
        "\\${oc.env:MY_TOKEN}",  # escaped: the text appears when it is resolved
        "${run.open}${run.rest}",  # two references that make a call
    ],
)
def test_functions_stay_text_however_often_they_are_read(monkeypatch, text):
    monkeypatch.setenv("MY_TOKEN", "sk-verysecret")
    parts = {"name": "oc.env", "open": "\\${", "rest": "oc.env:MY_TOKEN}"}
    found = {"run": {**parts, "deep": [{"prompt": text}]}}
    found = resolve_references(found, "r.yaml")
    for _ in range(3):
        found = OmegaConf.to_container(OmegaConf.create(found), resolve=True)
        assert "sk-verysecret" not in str(found)
        assert "MY_TOKEN" in found["run"]["deep"][0]["prompt"]


def test_the_key_is_named(caplog):
    resolve_references({"run": {"a": {"prompt": "${oc.env:X}"}}}, "r.yaml")
    assert "r.yaml: run.a.prompt" in caplog.text


@pytest.mark.parametrize(
    ("text", "value"),
    [("${run.seed}", 7), ("s ${.seed}", "s 7"), ("time: 12:30", "time: 12:30"), ("$5: {x}",) * 2],
)
def test_references_and_plain_texts_stay(caplog, text, value):
    found = resolve_references({"run": {"seed": 7, "prompt": text}}, "r.yaml")
    assert found["run"]["prompt"] == value
    assert not caplog.text


@pytest.mark.parametrize("recipe", [{"run": {"prompt": "a \ud83d"}}, {"run": {"\udfff": 1}}])
def test_half_a_surrogate_pair_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"run\.[^$]*surrogate"):
        refuse_unwritable_text(recipe, "r.yaml")
    refuse_unwritable_text(
        {"run": {"prompt": json.loads('"\\ud83d\\ude00"'), "high": float("inf")}}, "r"
    )

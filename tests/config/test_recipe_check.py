"""Recipes call no functions and hold texts that files can hold."""

import json

import pytest

from lavis.common.errors import ConfigError
from lavis.config.recipe_check import refuse_no_text, refuse_resolvers
from lavis.config.run_config import RunConfig


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
        "${other_resolver:}",
    ],
)
def test_functions_are_refused_with_their_key(monkeypatch, text):
    monkeypatch.setenv("MY_TOKEN", "sk-verysecret")
    recipe = {"run": {"name": "oc.env", "deep": [{"prompt": text}]}}
    with pytest.raises(ConfigError, match=r"r\.yaml: run\.deep\[0\]\.prompt") as refused:
        refuse_resolvers(recipe, "r.yaml")
    assert "sk-verysecret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["${run.seed}", "${.seed}: a", "time: 12:30", "$5: {x: 1}", "\\${oc.env:X}", "a"]
)
def test_references_and_plain_texts_stay(text):
    refuse_resolvers({"run": {"prompt": text}}, "r.yaml")


def test_a_recipe_and_an_option_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "sk-verysecret")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("run: {prompt: '${oc.env:MY_TOKEN}'}\nmodel: {arch: a}\ndatasets: {b: {}}\n")
    with pytest.raises(ConfigError, match=r"run\.prompt"):
        RunConfig.from_file(recipe)
    recipe.write_text("run: {task: t}\nmodel: {arch: a}\ndatasets: {b: {}}\n")
    with pytest.raises(ConfigError, match=r"run\.prompt"):
        RunConfig.from_file(recipe, ["run.prompt=${oc.env:MY_TOKEN}"])


@pytest.mark.parametrize("recipe", [{"run": {"prompt": "a \ud83d"}}, {"run": {"\udfff": 1}}])
def test_half_a_surrogate_pair_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"run\.[^$]*surrogate"):
        refuse_no_text(recipe, "r.yaml")
    refuse_no_text({"run": {"prompt": json.loads('"\\ud83d\\ude00"'), "high": float("inf")}}, "r")

"""Pages with clouds load nothing, and nothing in the data can become part of their script."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from lavis.datasets.viewer.page import as_script, canvas, content_policy, style_and_script


def test_the_policy_allows_the_style_and_the_script_alone() -> None:
    style, script = style_and_script()
    policy = content_policy(style, script)
    assert policy.startswith("default-src 'none'")
    for content in (style, script):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "script-src 'none'" in content_policy(style)


def test_names_and_texts_are_escaped() -> None:
    element = canvas('a"><script>', "<b>bold</b> & 'more'")
    assert element.count("<") == 2
    assert "&lt;b&gt;bold" in element


def test_data_cannot_end_the_script() -> None:
    stored = as_script({"</script><script>alert(1)": 1})
    assert not re.search("[<]", stored)
    assert json.loads(stored) == {"</script><script>alert(1)": 1}

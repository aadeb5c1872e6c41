"""Ranges of numbers in model and data set sections, by what their names mean everywhere.

Default yamls give every key's type; what a number may be follows from its name: a width is at
least one, a dropout is a share. Keys of other names are left to the component that reads them.
"""

from __future__ import annotations

import math
import re

from lavis.common.errors import ConfigError

_RULES: tuple[tuple[str, float, float], ...] = (
    # sizes of which there is at least one
    (
        r"(trans|embed|hidden|encoder|point|stem)_dims?|depth|\w*width|num_(heads|group)",
        1,
        math.inf,
    ),
    (
        r"group_size|num_query_token|cross_attention_freq|max_txt_len|num_objects",
        1,
        math.inf,
    ),
    (r"(\w+_)?seed", 0, 2**32 - 2**16),
    # shares
    (
        r"drop\w*_rate|\w*dropout|label_smoothing|max_bad_fraction|mirror_probability|color_drop|drop_max",
        0,
        1,
    ),
    # amounts that may be none; 0 points are all points of a scene, elsewhere the component refuses
    (
        r"\w+_(steps|batch|sigma|clip|weight)|shift|scale_(low|high)|max_words|num_points",
        0,
        math.inf,
    ),
)
_PATTERNS = [(re.compile(pattern), low, high) for pattern, low, high in _RULES]


def check_range(key: str, value: object, where: str) -> None:
    """Refuse a number outside of what its key's name allows; lists item by item.

    Args:
        key: last part of the dotted key.
        value: of any type; other than numbers pass.
        where: file and dotted key, for the message.

    Raises:
        ConfigError: out of range.
    """
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            continue
        for pattern, low, high in _PATTERNS:
            if pattern.fullmatch(key) and not low <= item <= high:
                raise ConfigError(
                    "value out of range",
                    where=where,
                    got=item,
                    expected=f"{low:g} to {high:g}",
                    fix="correct the value; the default yaml explains the key",
                )

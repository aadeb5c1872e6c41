"""Models and tokenizers of transformers: whole and without foreign code, or refused.

transformers fills tensors that a folder lacks with random numbers and logs it; here that is an
error, unless the caller never reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.errors import CheckpointError
from lavis.models.weights.builtin import reading_pretrained, resolve_pretrained
from lavis.models.weights.foreign_code import is_allowed


def load_part(auto_class: Any, name: str, key: str, **options: Any) -> Any:
    """Load a tokenizer or a configuration.

    Args:
        auto_class: AutoTokenizer or AutoConfig.
        name: built-in name, folder or hub name.
        key: the yaml key that named it, for messages.
        options: of `from_pretrained`.

    Raises:
        CheckpointError: absent, damaged, or it needs code of its own that is not allowed.
    """
    folder = resolve_pretrained(name)
    with reading_pretrained(key, name):
        return auto_class.from_pretrained(folder, trust_remote_code=is_allowed(folder), **options)


def load_model(
    auto_class: Any, name: str, key: str, unused: Sequence[str] = (), **options: Any
) -> Any:
    """Load a model whose every tensor comes from its files.

    Args:
        auto_class: AutoModel, AutoModelForCausalLM, ….
        name, key: see `load_part`.
        unused: prefixes of parameters that the caller never reads; these may be absent.
        options: of `from_pretrained`.

    Raises:
        CheckpointError: see `load_part`; or tensors are absent or of other shapes.
    """
    model, report = load_part(auto_class, name, key, output_loading_info=True, **options)
    missing = [k for k in sorted(report["missing_keys"]) if not k.startswith(tuple(unused))]
    problems = [*missing, *map(str, report["mismatched_keys"]), *map(str, report["error_msgs"])]
    if problems:
        raise CheckpointError(
            "the weight files lack tensors of the model",
            where=f"{key}: {name}",
            got=f"{len(problems)} absent or of another shape, e.g. {problems[:3]}",
            expected=f"every tensor of {type(model).__name__}",
            fix="download the folder again; transformers would start these at random",
        )
    return model

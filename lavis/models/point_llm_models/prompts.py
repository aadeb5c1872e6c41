"""Instructions as the language model reads them."""

from __future__ import annotations

from collections.abc import Sequence

# The format of Stanford Alpaca, which LLaMA-Adapter trains with.
_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n"
)
_TURN = "### Instruction:\n{}\n\n### Response:"


def instruction_prompt(
    instruction: str, template: str = "alpaca", turns: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the text before a response.

    Args:
        instruction: what is asked now.
        template: `alpaca` or `plain`.
        turns: (instruction, response) of the dialogue so far.
    """
    if template == "plain":
        return "\n".join([*(f"{asked} {said}" for asked, said in turns), instruction])
    before = [f"{_TURN.format(asked)} {said}" for asked, said in turns]
    return _ALPACA + "\n\n".join([*before, _TURN.format(instruction)])

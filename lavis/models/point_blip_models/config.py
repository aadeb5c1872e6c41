"""Yaml keys of PointBLIP's stages: defaults (those of the release), types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lavis.config import ComponentConfig, option
from lavis.models.language.llm import LoraOptions
from lavis.models.point_blip_models.lookup_keys import LOOKUPS
from lavis.models.point_blip_models.matching_losses import NEGATIVE_RULES
from lavis.models.point_blip_models.right_pairs import RULES
from lavis.models.point_encoders.model_config import PointModelConfig


@dataclass(frozen=True)
class BackboneConfig(PointModelConfig):
    """Keys of both stages.

    Attributes:
        may_start_fresh: parts that may keep their initial values when the checkpoints hold nothing
            of them, e.g. `[llm_proj]` when stage 2 starts from stage 1.
        freeze_point_encoder: keep the encoder fixed and in evaluation mode.
        qformer_bert: BERT that initialises the Q-Former: `minilm`, a folder, or a hub name.
        num_query_token: learned queries Q.
        cross_attention_freq: cross-attention in every n-th layer.
        qformer_dropout: dropout of the Q-Former; null keeps that of `qformer_bert`.
        qformer_width: width that point tokens are projected to (BLIP-2: 1408); null: none.
        use_class_token: prepend the encoder's class token. The release drops it, though ULIP
            aligned it with text; small encoders gain from it.
        use_size_token: append a token of the object's box size, for data with a common unit.
        use_pooled_token: append the maximum over the group tokens: encoders that are trained with
            it (Point-BERT) lose information without it.
        xyz_encoding: add a sinusoidal encoding of each group's centre to its token (3D-LLM).
        checkpoint_qformer: recompute the Q-Former's layers in the backward pass.
    """

    may_start_fresh: tuple[str, ...] = ()
    freeze_point_encoder: bool = True
    qformer_bert: str = "bert-base-uncased"
    num_query_token: int = option(32, low=1)
    cross_attention_freq: int = option(2, low=1)
    qformer_dropout: float | None = option(None, low=0, high=1)
    qformer_width: int | None = option(1408, low=1)
    use_class_token: bool = False
    use_size_token: bool = False
    use_pooled_token: bool = False
    xyz_encoding: bool = False
    checkpoint_qformer: bool = False


@dataclass(frozen=True)
class Stage1Options(ComponentConfig):
    """What the three losses of stage 1 are computed on.

    Attributes:
        embed_dim: width E of the joint embedding space.
        max_txt_len: longest caption in tokens; longer ones are cut.
        loss_weights: weights of `ptc`, `ptm`, `ptg`; a loss of weight 0 is not computed.
        label_smoothing: of the PTC targets and of PTG.
        matching_batch: pairs per batch used for PTM, with hard negatives from the whole batch; null
            uses all, as published. PTM is half of a step, so a small CPU budget buys more steps.
        captioning_batch: objects per batch used for PTG; null uses all, as published.
        text_pooling: `cls` (published) or `mean` of the text states; `mean` keeps the sentence
            space of a BERT that was trained so (MiniLM).
        contrast_trains_both: each direction of PTC trains both towers; False detaches the gathered
            side, as LAVIS does.
        positives: texts that are positives of an object: `drawn`, those equal to the one of its
            row, `annotated`, all that it is annotated with, `image_id`, those whose row has the
            same `image_id` (LAVIS after 1.0.2), or `row`, its own alone (LAVIS 1.0.2, the release).
        correct_repeated_texts: the copies of a text in a batch count as one in PTC; the release
            has no such correction.
        hard_negatives: PTM's weights: `masked` (LAVIS after 1.0.2) or `floored`, softmax + 1e-4
            (LAVIS 1.0.2); see `sample_hard_negatives`.
        matching_text: texts of PTM: `drawn` (published), or `described`: the caption in place of a
            drawn class name, and no text annotated as right is a negative.
    """

    embed_dim: int = option(256, low=1)
    max_txt_len: int = option(32, low=1)
    loss_weights: Mapping[str, float] = option({"ptc": 1.0, "ptm": 1.0, "ptg": 1.0}, low=0)
    label_smoothing: float = option(0.1, low=0, high=1)
    matching_batch: int | None = option(None, low=0)
    captioning_batch: int | None = option(None, low=0)
    text_pooling: str = option("cls", choices=("cls", "mean"))
    contrast_trains_both: bool = True
    positives: str = option("drawn", choices=RULES)
    correct_repeated_texts: bool = True
    hard_negatives: str = option("masked", choices=NEGATIVE_RULES)
    matching_text: str = option("drawn", choices=("drawn", "described"))


@dataclass(frozen=True)
class PointBlipConfig(Stage1Options, BackboneConfig):
    """Keys of stage 1."""

    REPLACED = {  # noqa: RUF012 (a ClassVar of the base)
        "chunk_size": "run.accumulate: contrast, and run.accum_grad_iters: batches per step"
    }


@dataclass(frozen=True)
class PointBlipLLMConfig(BackboneConfig):
    """Keys of stage 2.

    Attributes:
        freeze_pc_projection: freeze the projection of the point tokens; the release freezes it in
            stage 2, GPT4Point does not.
        llm: built-in name (`smollm2-135m`), folder, or hub name of the language model.
        llm_dtype: of the frozen weights: float32, bfloat16, float16, or `auto`: bfloat16 where that
            is native, else float32.
        llm_end_text: text that ends a caption; null is the model's end token, BLIP-2's OPT uses a
            newline.
        llm_attention: `sdpa` or `eager`; null is transformers' choice.
        lora: adapters to train (`LoraOptions`); null freezes the model.
        prompt: text between the prefix and a caption; `{size}` is the box size in words.
        qa_prompt: text between the prefix and an answer; `{}` is the question, `{size}` as above.
        qformer_text_input: the queries attend to the question, as in InstructBLIP.
        draft_length: queries that also predict the caption's (or answer's) first tokens; 0: none.
        loss_weights: weights of `lm` and `draft`; a language model of weight 0 does not run.
        retrieved_texts: texts of the k nearest training objects in every prompt; 0: none. Never the
            object's own (retrieved_texts.py).
        retrieval_lookup: what neighbours are found by: `shape` (occupancy and box), `encoder` (its
            global feature, and the box), `joint`, or `head` (`shape`, and the features of
            `retrieval_head`, which do not count in training).
        retrieval_head: file of the layer behind the frozen encoder
            (`python -m lavis.models.point_encoders.export --part object_head`); in a shared folder,
            which holds its weights, `{use_size, width}` of `ObjectHead`.
        retrieved_own_size: replace the footprint in a retrieved text ("2 x 4") by that of the
            object's box, for data whose unit is the stud.
        retrieved_prompt: text before the prompt; `{}` is the texts.
    """

    freeze_pc_projection: bool = True
    llm: str = "smollm2-135m"
    llm_dtype: str = "float32"
    llm_end_text: str | None = None
    llm_attention: str | None = None
    lora: LoraOptions | None = None
    prompt: str = "a 3D point cloud of"
    qa_prompt: str = "Question: {} Answer:"
    qformer_text_input: bool = False
    draft_length: int = option(0, low=0)
    loss_weights: Mapping[str, float] = option({"lm": 1.0, "draft": 1.0}, low=0)
    retrieved_texts: int = option(0, low=0)
    retrieval_lookup: str = option("joint", choices=LOOKUPS)
    retrieval_head: str | Mapping[str, Any] | None = None
    retrieved_own_size: bool = False
    retrieved_prompt: str = "Similar objects: {}."

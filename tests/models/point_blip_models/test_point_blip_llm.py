"""Stage 2 on tiny language models: what is scored, what is frozen, and how texts are packed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.language.llm import LanguageModel, LoraOptions, pack
from lavis.models.point_blip_models.config import PointBlipConfig, PointBlipLLMConfig
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_blip_models.point_blip_llm import PointBlipLLM


def build(llm: str, tiny_bert: str, encoder: dict, **options) -> PointBlipLLM:
    torch.manual_seed(0)
    sizes = {"qformer_bert": tiny_bert, "num_query_token": 4, "qformer_width": None}
    options = {"freeze_point_encoder": False} | options
    return PointBlipLLM(PointBlipLLMConfig(llm=llm, point_encoder=encoder, **sizes, **options))


@pytest.fixture(params=["tiny_llama", "tiny_opt", "tiny_t5"])
def llm_folder(request) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    return {"point_cloud": point_cloud, "text_input": captions}


def test_loss_trains_the_prefix_and_leaves_the_llm_alone(
    llm_folder, tiny_bert, tiny_encoder_cfg, samples
):
    model = build(llm_folder, tiny_bert, tiny_encoder_cfg)
    frozen = {n: p.clone() for n, p in model.language_model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in model.language_model.named_parameters():
        assert torch.equal(parameter, frozen[name])


def test_only_target_tokens_are_scored(tiny_llama):
    model = LanguageModel(tiny_llama)
    prefix = torch.randn(2, 3, model.hidden_size, generator=torch.Generator().manual_seed(0))
    prompts, targets = ["say", "say it"], [" yes", " no"]
    expected, count = torch.tensor(0.0), 0
    for row in range(2):
        prompt_ids, _ = model.tokenize(prompts[row : row + 1])
        target_ids, _ = model.tokenize(targets[row : row + 1], add_end=True)
        ids = torch.cat([prompt_ids, target_ids], 1)
        embeds = torch.cat([prefix[row : row + 1], model.embed(ids)], 1)
        logits = model.model(inputs_embeds=embeds).logits[0]
        start = 3 + prompt_ids.shape[1]
        scored = F.cross_entropy(logits[start - 1 : -1], target_ids[0], reduction="sum")
        expected, count = expected + scored, count + target_ids.shape[1]
    torch.testing.assert_close(model.loss(prefix, prompts, targets), expected / count)


def test_generation_does_not_depend_on_the_batch(llm_folder, tiny_bert, tiny_encoder_cfg, samples):
    model = build(llm_folder, tiny_bert, tiny_encoder_cfg).eval()
    questions = ["What is it?", "Colour?", "How many studs are there on it?", "Is it round?"]
    batch = model.answer({**samples, "question": questions}, max_len=5)
    alone = [
        model.answer(
            {"point_cloud": samples["point_cloud"][i : i + 1], "question": questions[i : i + 1]},
            max_len=5,
        )[0]
        for i in range(4)
    ]
    assert batch == alone


@pytest.mark.parametrize("num_beams", [1, 3])
def test_captions_by_greedy_and_beam(tiny_llama, tiny_bert, tiny_encoder_cfg, samples, num_beams):
    model = build(tiny_llama, tiny_bert, tiny_encoder_cfg).eval()
    assert len(model.generate(samples, num_beams=num_beams, max_length=4)) == 4


def test_sampling_follows_the_seed(tiny_llama, tiny_bert, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_bert, tiny_encoder_cfg).eval()
    torch.manual_seed(3)
    first = model.generate(samples, top_p=0.9, max_length=6)
    torch.manual_seed(3)
    assert model.generate(samples, top_p=0.9, max_length=6) == first


def test_empty_prompt_and_batch_of_one(tiny_llama, tiny_bert, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_bert, tiny_encoder_cfg, prompt="")
    one = {key: value[:1] for key, value in samples.items()}
    assert torch.isfinite(model(one)["loss"])


def test_prompts_name_each_object_s_size_where_they_say_so(
    tiny_llama, tiny_bert, tiny_encoder_cfg, samples
):
    prompts = {"prompt": "{size} studs: a", "qa_prompt": "{size}. {} ->"}
    model = build(tiny_llama, tiny_bert, tiny_encoder_cfg, **prompts)
    boxes = torch.tensor([[4.0, 1.2, 2.0], [1.0, 9.6, 1.0]])
    pair = {"point_cloud": samples["point_cloud"][:2], "box_size": boxes}
    assert model.caption_prompts(pair) == ["2.0 x 4.0 x 1.2 studs: a", "1.0 x 1.0 x 9.6 studs: a"]
    assert model.caption_prompts(pair, "what is {this} ") == ["what is {this}"] * 2
    asked = pair | {"question": ["how {long}?", "why?"]}
    assert model.question_prompts(asked) == [
        "2.0 x 4.0 x 1.2. how {long}? ->",
        "1.0 x 1.0 x 9.6. why? ->",
    ]
    with pytest.raises(ConfigError, match=r"model\.prompt"):
        model(samples)


def test_newline_ends_a_caption_when_the_yaml_says_so(tiny_opt):
    model = LanguageModel(tiny_opt, end_text="\n")
    ids, mask = model.tokenize([" a", " abc"], add_end=True)
    ends = ids[torch.arange(2), mask.sum(1) - 1]
    assert ends.tolist() == [model.end_id] * 2
    assert model.tokenizer.decode([model.end_id]) == "\n"


def test_lora_trains_adapters_only(tiny_llama, tiny_bert, tiny_encoder_cfg, samples):
    lora = LoraOptions(rank=2, target_modules=["q_proj", "v_proj"])
    model = build(tiny_llama, tiny_bert, tiny_encoder_cfg, lora=lora)
    trained = [n for n, p in model.language_model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    model(samples)["loss"].backward()
    grads = [p.grad for n, p in model.language_model.named_parameters() if "lora_B" in n]
    assert all(g is not None and g.abs().sum() > 0 for g in grads)


def test_frozen_llm_never_drops_out(tiny_opt, tiny_bert, tiny_encoder_cfg):
    model = build(tiny_opt, tiny_bert, tiny_encoder_cfg).train()
    assert not model.language_model.model.training
    assert model.qformer.training


@pytest.mark.parametrize("num_beams", [1, 2])
def test_both_attentions_compute_the_same(llm_folder, num_beams):
    models = [LanguageModel(llm_folder, attention=name).eval() for name in ("sdpa", "eager")]
    prefix = torch.randn(2, 3, models[0].hidden_size, generator=torch.Generator().manual_seed(0))
    prompts, targets = ["say", "say it again"], [" yes", " no, never"]
    losses = [model.loss(prefix, prompts, targets) for model in models]
    torch.testing.assert_close(losses[0], losses[1])
    texts = [
        model.generate(prefix, prompts, max_new_tokens=6, num_beams=num_beams) for model in models
    ]
    assert texts[0] == texts[1]


def test_an_unknown_attention_is_refused_with_the_nearest(tiny_llama):
    with pytest.raises(ConfigError, match=r"Did you mean 'sdpa'.*\n.*model\.llm_attention"):
        LanguageModel(tiny_llama, attention="spda")


def test_pack_moves_marked_positions_to_the_front():
    first = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 1, 0]])
    values = torch.arange(10).reshape(2, 5)
    moved, deep = pack(first, values, values[..., None].float())
    assert moved.tolist() == [[1, 2, 4, 0, 3], [5, 8, 6, 7, 9]]
    assert torch.equal(deep[..., 0].long(), moved)


def drafting(tiny_llama: str, tiny_bert: str, encoder: dict, **options) -> PointBlipLLM:
    return build(tiny_llama, tiny_bert, encoder, draft_length=4, **options)


def test_draft_loss_equals_a_plain_computation(tiny_llama, tiny_bert, tiny_encoder_cfg, captions):
    model = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg)
    ids, mask = model.language_model.tokenize([f" {text}" for text in captions], add_end=True)
    table = model.language_model.embedding_table()
    states = torch.randn(len(captions), 4, model.qformer.config.hidden_size)
    logits = (model.draft.proj(states) + model.draft.position) @ table.T  # [B,4,V]
    assert mask[:, :4].all()
    expected = F.cross_entropy(logits.flatten(0, 1), ids[:, :4].flatten())
    torch.testing.assert_close(model.draft_loss(states, captions), expected)


def test_draft_is_a_row_of_token_embeddings_that_stays_ended(
    tiny_llama, tiny_bert, tiny_encoder_cfg, samples
):
    model = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg).eval()
    language_model = model.language_model
    with torch.no_grad():
        table = language_model.model.get_input_embeddings().weight
        table.normal_()  # the padding token's row, too, which is the end's
        table.copy_(F.normalize(table, dim=-1))  # each token is now its own nearest
        model.draft.proj.weight.zero_()
        # the second place names the end; what the later ones name is covered
        for place, token in enumerate((7, language_model.end_id, 9, 11)):
            model.draft.position[place] = 100 * language_model.embedding_table()[token]
    ids = model.draft(
        model.query_states(samples),
        language_model.embedding_table(),
        language_model.end_id,
    )
    assert ids[0].tolist() == [7, *[language_model.end_id] * 3]
    prefix = model.cloud_prefix(samples)
    assert prefix.shape[1] == model.qformer.config.num_query_token + 4
    torch.testing.assert_close(prefix[:, -4:], language_model.embed(ids))


def test_weights_choose_what_is_learned(tiny_llama, tiny_bert, tiny_encoder_cfg, samples, captions):
    batch = samples | {"caption": captions}
    both = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg)
    assert set(both(batch)) == {"loss", "loss_draft", "loss_lm"}
    assert set(both(samples)) == {"loss", "loss_lm"}
    draft_only = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg, loss_weights={"lm": 0.0})
    assert set(draft_only(batch)) == {"loss", "loss_draft"}
    with pytest.raises(ConfigError, match=r"model\.loss_weights"):
        draft_only(samples)


def test_a_draft_longer_than_the_queries_is_refused(tiny_llama, tiny_bert, tiny_encoder_cfg):
    with pytest.raises(ConfigError, match=r"model\.draft_length"):
        build(tiny_llama, tiny_bert, tiny_encoder_cfg, draft_length=400)


def test_without_a_draft_there_are_no_parameters_of_it(tiny_llama, tiny_bert, tiny_encoder_cfg):
    names = build(tiny_llama, tiny_bert, tiny_encoder_cfg).state_dict()
    assert not [name for name in names if "draft" in name]


def asking(model: PointBlipLLM, point_cloud: torch.Tensor, *questions: str) -> torch.Tensor:
    batch = {"point_cloud": point_cloud[: len(questions)], "question": list(questions)}
    return model.query_states(batch)


def test_queries_read_the_question_where_they_may(
    tiny_llama, tiny_bert, tiny_encoder_cfg, point_cloud
):
    blind = build(tiny_llama, tiny_bert, tiny_encoder_cfg).eval()
    reader = build(tiny_llama, tiny_bert, tiny_encoder_cfg, qformer_text_input=True).eval()
    one, other = ("what color is it?", "what is it?"), ("what is it?", "what color is it?")
    torch.testing.assert_close(asking(blind, point_cloud, *one), asking(blind, point_cloud, *other))
    assert not torch.allclose(
        asking(reader, point_cloud, *one), asking(reader, point_cloud, *other)
    )
    # an object's row does not depend on its neighbours' questions
    alone = asking(reader, point_cloud, one[0])
    torch.testing.assert_close(asking(reader, point_cloud, *one)[:1], alone, atol=1e-5, rtol=1e-5)


def test_captions_and_comparisons_know_no_question(
    tiny_llama, tiny_bert, tiny_encoder_cfg, point_cloud
):
    reader = build(tiny_llama, tiny_bert, tiny_encoder_cfg, qformer_text_input=True).eval()
    plain = reader.query_states({"point_cloud": point_cloud})
    asked = {"point_cloud": point_cloud, "question": ["what is it?"] * len(point_cloud)}
    torch.testing.assert_close(reader.embed(asked, "point"), plain)
    assert not torch.allclose(reader.query_states(asked), plain)


def test_the_draft_of_a_question_is_its_answer(
    tiny_llama, tiny_bert, tiny_encoder_cfg, point_cloud
):
    batch = {
        "point_cloud": point_cloud[:2],
        "question": ["what color is it?", "has it teeth?"],
        "answer": ["red", "no"],
    }
    blind = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg)
    assert set(blind(batch)) == {"loss", "loss_lm"}, "a draft that cannot know the answer rests"
    reader = drafting(tiny_llama, tiny_bert, tiny_encoder_cfg, qformer_text_input=True).eval()
    output = reader(batch)
    expected = reader.draft_loss(reader.query_states(batch), ["red", "no"])
    torch.testing.assert_close(output["loss_draft"], expected)
    output["loss_draft"].backward()
    assert reader.qformer.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_the_text_half_comes_from_stage_1_without_its_head(
    tiny_llama, tiny_bert, tiny_encoder_cfg, tmp_path
):
    torch.manual_seed(3)
    sizes = {"qformer_bert": tiny_bert, "num_query_token": 4, "qformer_width": None}
    stage1 = PointBlip(PointBlipConfig(point_encoder=tiny_encoder_cfg, **sizes))
    with torch.no_grad():
        for parameter in stage1.parameters():
            parameter.add_(0.01)
    torch.save({"model": stage1.state_dict()}, tmp_path / "stage1.pth")
    reader = build(tiny_llama, tiny_bert, tiny_encoder_cfg, qformer_text_input=True)
    assert not [name for name in reader.state_dict() if ".cls." in name]
    reader.load_from_pretrained(str(tmp_path / "stage1.pth"))
    own, given = reader.qformer.state_dict(), stage1.qformer.state_dict()
    assert own.keys() == {name for name in given if not name.startswith("cls.")}
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, given[name])

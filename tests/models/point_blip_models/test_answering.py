"""Likelihood of candidate answers: equal to a slow count, for the Q-Former and language models."""

from __future__ import annotations

import pytest
import torch

from lavis.models.language.candidates import score_candidates
from lavis.models.language.llm import LanguageModel
from lavis.models.point_blip_models.config import PointBlipConfig, PointBlipLLMConfig
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_blip_models.point_blip_llm import PointBlipLLM

QUESTIONS = ["what color is it?", "is it round?"]
CANDIDATES = [["red", "dark blue", "green"], ["yes", "no"]]


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_t5"])
def test_language_model_likelihood_is_the_loss_times_the_tokens(request, name):
    model = LanguageModel(request.getfixturevalue(name))
    prefix = torch.randn(3, 4, model.hidden_size, generator=torch.Generator().manual_seed(0))
    prompts, targets = ["say", "say it now", ""], [" yes", " no", " dark blue"]
    sums, counts = model.log_likelihood(prefix, prompts, targets)
    for row in range(3):
        one = slice(row, row + 1)
        loss = model.loss(prefix[one], prompts[one], targets[one])
        assert sums[row].item() == pytest.approx(-loss.item() * counts[row].item(), abs=1e-3)


def test_candidates_come_back_in_order_over_batches():
    candidates = [[f"{q}-{k}" for k in range(count)] for q, count in enumerate((70, 0, 3))]

    def score(rows, answers):
        assert [answer.split("-")[0] for answer in answers] == [str(row) for row in rows]
        values = torch.tensor([float(answer.split("-")[1]) for answer in answers])
        return values, torch.ones(len(answers), dtype=torch.long)

    found = score_candidates(score, candidates)
    assert [len(part) for part in found] == [70, 0, 3]
    assert found[0][:, 0].tolist() == list(range(70))


@pytest.fixture
def qformer_model(tiny_bert, tiny_encoder_cfg) -> PointBlip:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "num_query_token": 4, "qformer_width": None}
    encoder = {"point_encoder": tiny_encoder_cfg, "qformer_bert": tiny_bert}
    return PointBlip(PointBlipConfig(**encoder, **sizes)).eval()


def test_qformer_likelihood_equals_one_pair_at_a_time(qformer_model, point_cloud):
    model, samples = qformer_model, {"point_cloud": point_cloud[:2], "question": QUESTIONS}
    found = model.score_answers(samples, CANDIDATES)
    for row, answers in enumerate(CANDIDATES):
        cloud = model.qformer.project_cloud(
            model.encode_cloud({"point_cloud": point_cloud[row : row + 1]})
        )
        cache = model.qformer.query_pass(cloud)[1]
        for k, answer in enumerate(answers):
            text = model.tokenizer(f"{QUESTIONS[row]} {answer}", return_tensors="pt").input_ids
            asked = len(model.tokenizer(QUESTIONS[row]).input_ids) - 1
            text[:, 0] = model.tokenizer.bos_token_id
            states, _ = model.qformer.causal_pass(
                text[:, :-1], torch.ones_like(text[:, :-1]), cache
            )
            logits = model.qformer.vocabulary_logits(states[0]).log_softmax(-1)
            tokens = text[0, 1:]
            own = logits[torch.arange(len(tokens)), tokens][asked - 1 :]
            assert found[row][k, 1] == len(own)
            assert found[row][k, 0].item() == pytest.approx(own.sum().item(), abs=1e-3)


def test_stage_2_scores_answers_of_several_questions(
    tiny_llama, tiny_bert, tiny_encoder_cfg, point_cloud
):
    torch.manual_seed(0)
    sizes = {"llm": tiny_llama, "num_query_token": 4, "qformer_width": None}
    encoder = {"point_encoder": tiny_encoder_cfg, "qformer_bert": tiny_bert}
    model = PointBlipLLM(PointBlipLLMConfig(**encoder, **sizes)).eval()
    samples = {"point_cloud": point_cloud[:2], "question": QUESTIONS}
    both = model.score_answers(samples, CANDIDATES)
    second = model.score_answers(
        {"point_cloud": point_cloud[1:2], "question": QUESTIONS[1:]}, CANDIDATES[1:]
    )
    torch.testing.assert_close(both[1], second[0], rtol=1e-4, atol=1e-3)
    assert (both[0][:, 0] < 0).all()

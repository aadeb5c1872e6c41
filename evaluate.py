"""Evaluate a recipe: no training, result JSON only.

    python evaluate.py --cfg-path lavis/projects/bricks/eval/demo_captioning.yaml
    python -m torch.distributed.run --nproc_per_node=2 evaluate.py --cfg-path ….yaml
    python evaluate.py --cfg-path ….yaml --options model.pretrained=output/…/checkpoint_best.pth
    python evaluate.py --cfg-path ….yaml --test-final "table 2 of the paper"    # locked split

Predictions go to <output_dir>/<job_id>/result/<split>.json, scores to <split>_metrics.json beside
it.
"""

from train import main

if __name__ == "__main__":
    main(evaluate_only=True)

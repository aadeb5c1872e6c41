"""BLEU, ROUGE-L and CIDEr-D computed by the pycocoevalcap package itself.

The fast implementation (ngrams.py, rouge.py) gives the same values; this one is for users who want
the reference implementation named in their paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.common.errors import DependencyError

INSTALL = "pip install --no-deps -r requirements-nodeps.txt"
Tokens = Sequence[str]


def pycocoevalcap_scores(
    hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Score tokenised captions with pycocoevalcap.

    Args:
        hypotheses: N lists of words, possibly empty.
        references: N groups of at least one reference each.

    Returns:
        Corpus scores and [N] float64 per item, by name: bleu_1..4, rouge_l (0..1), cider (0..10).

    Raises:
        DependencyError: pycocoevalcap is not installed.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise DependencyError("pycocoevalcap is not installed", fix=INSTALL) from error
    given = {number: [" ".join(words)] for number, words in enumerate(hypotheses)}
    right = {
        number: [" ".join(words) for words in group] for number, group in enumerate(references)
    }
    bleu, bleu_items = Bleu(4).compute_score(right, given, verbose=0)
    values = {f"bleu_{order}": float(score) for order, score in enumerate(bleu, start=1)}
    per_item = {f"bleu_{order}": np.array(row) for order, row in enumerate(bleu_items, start=1)}
    for name, scorer in (("rouge_l", Rouge()), ("cider", Cider())):
        score, items = scorer.compute_score(right, given)
        values[name], per_item[name] = float(score), np.asarray(items, dtype=np.float64)
    return values, per_item

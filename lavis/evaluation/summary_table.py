"""The table of claims: one row for each headline metric, and a sentence that counts verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from lavis.evaluation.claims import Claim, table_claims
from lavis.evaluation.formatting import (
    ABSENT,
    SCALE_NOTE,
    format_interval,
    format_value,
    markdown_table,
    words,
)
from lavis.evaluation.multiple_tests import ABOVE, BELOW, LEVEL, NOT_TESTED
from lavis.evaluation.run_records import RunRecord
from lavis.evaluation.seeds import spread

_HEADER = (
    *("Run", "Task", "Texts, protocol", "Metric", "n", "Score [95% CI]", "Seeds: mean ± sd"),
    *("Strongest baseline", "Difference [95% CI]", "Verdict"),
)
_NUMBERS = ("n", "Score [95% CI]", "Seeds: mean ± sd", "Difference [95% CI]")
NO_CLAIMS = "No headline claims yet."


def summary(runs: Sequence[RunRecord]) -> str:
    """Compose the table of all claims, the note and the counts of verdicts, as Markdown."""
    claims = table_claims(runs)
    if not claims:
        return NO_CLAIMS
    return "\n\n".join([claims_table(claims), verdict_note(claims), count_text(claims)])


def claims_table(claims: Sequence[Claim]) -> str:
    """Lay out one row for each claim."""
    return markdown_table(_HEADER, _NUMBERS, [_row(claim) for claim in claims])


def verdict_note(claims: Sequence[Claim]) -> str:
    """Explain intervals, seeds and verdicts of a table."""
    n_tests = sum(claim.paired is not None for claim in claims)
    return (
        "Score: 95% bootstrap interval over items. Seeds: mean and standard deviation over runs of "
        "the recipe with different seeds. Difference: model minus the strongest baseline, paired "
        "bootstrap over the same items. Verdict: above or below when the interval excludes zero "
        f"and the test is significant at 5% after Holm's correction over {n_tests} claims; level "
        f"otherwise. {SCALE_NOTE}"
    )


def count_text(claims: Sequence[Claim]) -> str:
    """Count the verdicts in one sentence."""
    found = [claim.verdict for claim in claims]
    parts = [f"above in {found.count(ABOVE)}", f"level in {found.count(LEVEL)}"]
    parts += [f"below in {found.count(BELOW)}"]
    parts += [f"not tested in {found.count(NOT_TESTED)}"] if NOT_TESTED in found else []
    return f"Of {len(claims)} claims against the strongest baseline, the model is {listed(parts)}."


def listed(parts: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def score_cell(run: RunRecord, metric: str) -> str:
    """Return "**45.7** [40.1, 51.2]", or the bare score where there is no interval."""
    entry = run.record["metrics"][metric]
    score = format_value(metric, entry["value"])
    if entry["ci95"] is None:
        return score
    return f"**{score}** {format_interval(metric, entry['ci95'])}"


def seeds_cell(run: RunRecord, metric: str) -> str:
    """Return "45.1 ± 1.2 (3 seeds)", or a dash for a single run."""
    found = spread(metric, run.seeds)
    if found is None:
        return ABSENT
    mean, deviation = (format_value(metric, v) for v in (found.mean, found.deviation))
    return f"{mean} ± {deviation} ({found.n} seeds)"


def _row(claim: Claim) -> list[str]:
    run = claim.run
    return [
        run.name + run.marks,
        f"{run.task} ({words(run.split)})",
        run.protocol or ABSENT,
        words(claim.metric),
        run.n_items(claim.metric),
        score_cell(run, claim.metric),
        seeds_cell(run, claim.metric),
        claim.baseline_text,
        claim.difference_text or ABSENT,
        claim.verdict,
    ]

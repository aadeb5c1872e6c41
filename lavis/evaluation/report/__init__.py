"""The report of a run: one page with examples and one table of scores.

python -m lavis.evaluation.report --run output/demo [--points data/bricks] [--out report.html]

run_folder   result files of the four evaluation tasks, checked
headlines    scores with interval and seeds, strongest baseline, verdict, controls
examples     seeded choice of good and bad examples
clouds       point clouds of the objects shown (encoding, script and style: lavis/datasets/viewer)
sections     HTML of the example sections
many_runs    every run below a folder in one table; two runs compared item by item
markdown_page  Markdown of headings, tables and lists as a page that loads nothing
page         the page: template.html with style and script in one self-contained file
"""

from lavis.evaluation.report.page import write_report

__all__ = ["write_report"]

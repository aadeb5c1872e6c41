"""Trivial baselines, which every reported score has to beat. No baseline learns an embedding.

    pool.py                   full training split of a data set, with features of its objects
    features.py, cache.py     sizes, occupancy histogram, mean colour, 512 points; kept on the disk
    neighbours.py             nearest training objects by box, by histogram, by chamfer distance
    forests.py                extra trees and random forests, fitted once per process
    text_index.py, text_classes.py, named_words.py, word_votes.py, footprints.py, colors.py
                              features of texts: tf-idf, class, yes/no word, "2 x 4", colour
    captions.py, answers.py, classes.py, class_texts.py, retrieval.py
                              {baseline: predictions of all items}, by task
    expected_recalls.py       recall of similarities with ties
    scene_points.py, scene_clusters.py, scene_layouts.py
                              labels of points, objects as clusters, copied layouts of scenes
    chance.py, blind.py, embedding_neighbours.py
                              baselines that need no features, or a model's embedding

All baselines use the full training split, whatever `limit` is. A baseline whose data are absent
(boxes, colours, question types, training objects) is left out. Those that read sizes in texts need
`dataset.unit` to be the stud.
"""

from __future__ import annotations

from lavis.evaluation.baselines.blind import BlindAnswerer
from lavis.evaluation.baselines.chance import (
    chance_recall,
    chance_retrieval,
    random_captions,
)
from lavis.evaluation.baselines.embedding_neighbours import (
    nearest_neighbour_captions,
    nearest_neighbour_indices,
)
from lavis.evaluation.baselines.expected_recalls import expected_recalls, recall_scores
from lavis.evaluation.baselines.retrieval import retrieval_baselines
from lavis.evaluation.classification import chance_accuracy, most_frequent_accuracy
from lavis.evaluation.qa import most_frequent_answers

__all__ = [
    "BlindAnswerer",
    "chance_accuracy",
    "chance_recall",
    "chance_retrieval",
    "expected_recalls",
    "most_frequent_accuracy",
    "most_frequent_answers",
    "nearest_neighbour_captions",
    "nearest_neighbour_indices",
    "random_captions",
    "recall_scores",
    "retrieval_baselines",
]

"""Trivial baselines: what every reported score has to beat. No baseline learns an embedding.

    chance.py                 exact chance of retrieval, random captions, the most frequent class
    blind.py                  answers from the question's words alone
    nearest_box.py            answers from the object's size alone
    embedding_neighbours.py   captions copied from the neighbour in a model's own embedding
    pool.py                   full training split of a data set, with features of all its objects
    features.py, cache.py     box, occupancy histogram, mean colour, 512 points; kept on the disk
    neighbours.py             nearest training objects by box, by histogram, by chamfer distance
    forests.py                extra trees and random forests, fitted once per process
    captions.py, answers.py, classes.py, retrieval.py
                              {baseline: prediction of every item}, one file per task

All baselines use the full training split, whatever `limit` is. A baseline whose data are not there
(boxes, colours, question types, training objects) is left out.
"""

from __future__ import annotations

from lavis.evaluation.baselines.blind import BlindAnswerer
from lavis.evaluation.baselines.chance import (
    chance_recall,
    chance_retrieval,
    most_frequent_class,
    random_captions,
)
from lavis.evaluation.baselines.embedding_neighbours import (
    nearest_neighbour_captions,
    nearest_neighbour_indices,
)
from lavis.evaluation.baselines.nearest_box import NearestBoxAnswerer
from lavis.evaluation.classification import chance_accuracy, most_frequent_accuracy
from lavis.evaluation.qa import most_frequent_answers, most_frequent_predictions

__all__ = [
    "BlindAnswerer",
    "NearestBoxAnswerer",
    "chance_accuracy",
    "chance_recall",
    "chance_retrieval",
    "most_frequent_accuracy",
    "most_frequent_answers",
    "most_frequent_class",
    "most_frequent_predictions",
    "nearest_neighbour_captions",
    "nearest_neighbour_indices",
    "random_captions",
]

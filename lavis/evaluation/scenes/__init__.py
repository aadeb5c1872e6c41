"""Metrics of scenes: segmentation, instances, boxes, referring; and their pages.

resampling.py     one weighting of scenes for the score, the scores of scenes, and the interval
segmentation.py   mIoU and accuracies, with groups of classes
precision.py      average precision of ScanNet's and of VoteNet's evaluation, weighted
instances.py      AP, AP50, AP25 as ScanNet's script
boxes.py          overlap of aligned and turned boxes
detection.py      mAP@0.25, mAP@0.5 as VoteNet's evaluation of ScanNet and SUN RGB-D
referring.py      IoU of masks, accuracy@0.25, accuracy@0.5
pictures.py       rotatable scenes with labels, masks and boxes
labelled.py       one labelled cloud as PLY or page
"""

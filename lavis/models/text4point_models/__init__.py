"""Text4Point: points learn from pixels and texts; segmentation, detection, referring."""

"""MixCon3D: clouds, their views and texts in one space, and a joint vector of cloud and views."""

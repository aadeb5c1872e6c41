"""Point-Bind: clouds in the joint space of images, texts and sounds."""

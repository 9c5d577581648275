"""How well a model does: ``answering`` asks it, ``grading`` grades, ``reports`` writes."""

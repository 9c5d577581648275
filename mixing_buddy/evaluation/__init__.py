"""How well a model does, and how well anyone could.

``answering`` asks a model, ``grading`` grades with intervals by ``bootstrap``, ``published`` grades
by the old rules, ``reports`` writes. ``baselines`` are set beside it: ``reading`` the text alone,
``ceiling`` knowing every stem's ``levels``, both deciding between ``verdicts``. ``metric_export``
writes the metric's folder for the Hub.
"""

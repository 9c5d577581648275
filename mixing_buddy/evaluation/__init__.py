"""How well a model does, and how well anyone could.

``answering`` asks a model, ``grading`` grades with intervals by ``bootstrap``, ``differential``
grades changes in dB, ``published`` grades by the old rules, ``breakdowns`` says where it goes
wrong, ``calibration`` whether it is as sure as it is right, ``text_metrics`` how it is worded.
``comparing`` sets ``baselines`` beside it: ``reading`` the text alone, ``ceiling`` knowing every
stem's ``levels``, both deciding between ``verdicts``. ``reports`` gathers all, ``report_page`` and
``plots`` show it. ``metric_export`` writes the metric's folder for the Hub.
"""

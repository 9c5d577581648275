"""What several engineers agree on: a balance and a range for each stem of a song.

``estimate`` (the law), ``sources`` (importers), ``tables`` (files), ``spread``, ``plots`` and
``report`` (how far engineers differ).
"""

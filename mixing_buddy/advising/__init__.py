"""Listening to a song.

From files to windows: ``stem_names``, ``inputs``, ``streams``, ``windows``. What the model says:
``inference`` with ``questions``, ``ranking``, ``answer_tree``, ``confidence``, ``combining``. What
is done with it: ``applying``, ``exporting``, ``iterating``, ``comparing``. How it is told:
``reporting``, ``page``, ``plots``.
"""

"""Listening to a song.

From files to windows: ``stem_names``, ``inputs``, ``streams``, ``windows``.

What the model says: ``loading``, ``prompting`` and ``asking`` with ``questions``, ``ranking``,
``answer_tree``; of a song, or of many, ``listening`` with ``confidence`` and ``combining``.
``inference`` is the class that offers all of it.

What is done with it: ``applying``, ``exporting``, ``iterating``, ``comparing``, ``batches``. How it
is told: ``reporting``, ``page``, ``plots``.
"""

"""A language model as a judge of answers.

``items`` reads the answers of several systems and the truth, ``prompts`` words the questions,
``replies`` reads what comes back. ``clients`` says what a judge is, ``http_clients`` and
``local_client`` are such; ``asking`` asks many things at once, ``cache`` keeps the replies.
``ranking`` orders answers and makes ranks of rankings, ``study`` runs all of it, ``figures`` sum up
and ``reports`` write.
"""

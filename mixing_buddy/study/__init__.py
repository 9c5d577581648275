"""A listening study: people rate answers, annotators code them, and judges are compared with both.

`items` makes a study's folder, `app` asks, `store` keeps what was answered, `analysis` and `report`
say what came of it. The protocol is `docs/human-study.md`.
"""

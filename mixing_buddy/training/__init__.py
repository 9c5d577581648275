"""Training on TRL: what ``train_sft.py`` and ``train_dpo.py`` are made of.

``arguments`` (what can be set), ``rows`` (data), ``models`` (model and adapter), ``sft`` (the
trainer), ``resuming`` (which checkpoint to go on from), ``checkpoints`` (adapters and merging),
``estimate`` and ``dry_run`` (what a run will need).
"""

"""What `experiments.py` is made of: the plan, running it, and reading what came out."""

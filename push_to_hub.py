"""Publish Mixing Buddy on the Hugging Face Hub.

# What would be published, without a network
```bash
python push_to_hub.py --what all --namespace NAME --dataset datasets/generated --dry-run
```

# Privately first, to look at it; then, without --private, for everybody
```bash
python push_to_hub.py --what all --namespace NAME --dataset datasets/generated --private
python push_to_hub.py --what all --namespace NAME --dataset datasets/generated --tag v0.1.0
```

`mixing-buddy push` does the same. docs/publishing.md goes through a first push step by step.
"""

import sys


def main() -> None:
    """Run `mixing-buddy push`."""
    import typer

    from mixing_buddy.cli.push import push
    from mixing_buddy.errors import MixingBuddyError

    try:
        typer.run(push)
    except MixingBuddyError as error:
        sys.exit(f"push_to_hub.py: {error}")


if __name__ == "__main__":
    main()

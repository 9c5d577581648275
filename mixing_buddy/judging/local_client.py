"""A judge that runs on this machine."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from mixing_buddy.errors import JudgingError
from mixing_buddy.judging.clients import Reply, Request


class LocalClient:
    """A transformers model on this machine, answering greedily, one question at a time.

    Args:
        folder: checkpoint with a tokenizer that has a chat template.
        max_tokens: longest reply, in tokens.

    Raises:
        JudgingError: the folder can't be loaded.
    """

    def __init__(self, folder: Path, *, max_tokens: int = 512) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto", local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise JudgingError(f"{folder} can't be loaded: {reason}") from error
        if self.tokenizer.chat_template is None:
            raise JudgingError(f"{folder}: its tokenizer has no chat template: it can't be asked.")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        ends = model.generation_config.eos_token_id
        self._end_tokens = set(ends if isinstance(ends, list) else [ends])
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self.left_out: tuple[str, ...] = ()
        # A checkpoint trained further in the same folder is another judge.
        files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir())]
        self.identity = {
            "model": str(folder.resolve()),
            "files": hashlib.sha256(repr(files).encode()).hexdigest(),
            "max_tokens": max_tokens,
        }

    def ask(self, request: Request) -> Reply:
        """See `JudgeClient.ask`. The schema stands in the question only."""
        import torch

        encoded = self.tokenizer.apply_chat_template(
            [dict(message) for message in request.messages],
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device)
        num_input = encoded["input_ids"].shape[1]
        with self._lock, torch.inference_mode():
            out = self._model.generate(
                **encoded,
                max_new_tokens=self._max_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )[0, num_input:].tolist()
        return Reply(
            text=self.tokenizer.decode(out, skip_special_tokens=True),
            finish_reason="stop" if out[-1] in self._end_tokens else "length",
            input_tokens=num_input,
            output_tokens=len(out),
        )

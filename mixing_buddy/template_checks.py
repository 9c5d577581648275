"""Checks of every template in every filling, to be run after editing the YAML.

Every template must fill; every instruction must name what it has to, and every description must
read back as its claim; every response must parse back to exactly what it was made from and keep
the order of decisions stated at the top of ``responses.yaml``. The first fault raises
`MixingBuddyError`, with file, category and index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product

from mixing_buddy import prompts
from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.claims import DESCRIPTIONS, Claim, PromptCategory, possible_claims
from mixing_buddy.clauses import find_mentions
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS
from mixing_buddy.template_pools import load

_MODES: tuple[prompts.Mode, ...] = ("single_mix", "stems")
_KINDS = list(product(_MODES, PromptCategory))
_PAIRS = list(permutations(ADVISED_STEMS, 2))
_MAX_INSTRUCTION_WORDS = 60
_MAX_RESPONSE_WORDS = 32
# What a verdict and a correction, and what a reason, may add to that.
_MAX_CLAIM_WORDS = 20
_MAX_REASON_WORDS = 15
_HEDGES = re.compile(r"\b(can|may|might|tends?|easily|rarely|often|usually|soon)\b")
_SIZES_DB = (-12.0, -0.5, 7.5)


def check_all() -> int:
    """Check every pool.

    Returns:
        How many texts were checked.

    Raises:
        MixingBuddyError: the first fault.
    """
    _check_pool_sizes()
    response_pools = {prompts.pool_name(*key): key for key in reversed(_KINDS)}
    for pool in (*response_pools, "_differential"):
        _check_openings(f"responses{pool}")
    num_texts = _check_reasons()
    for index in range(prompts.NUM_INSTRUCTIONS):
        num_texts += _check_differential(index)
        num_texts += sum(_check_instruction(index, *key) for key in _KINDS)
    for key in reversed(response_pools.values()):
        for index, (target, anchor) in product(range(prompts.NUM_RESPONSES), _PAIRS):
            num_texts += _check_response(index, *key, target=target, anchor=anchor)
    return num_texts


def _check_pool_sizes() -> None:
    pools = {prompts.pool_name(*key) for key in _KINDS} | {"_differential"}
    kinds = (("instructions", prompts.NUM_INSTRUCTIONS), ("responses", prompts.NUM_RESPONSES))
    for (kind, expected), pool in product(kinds, sorted(pools)):
        templates = load(f"{kind}{pool}")
        where = f"templates/{kind}{pool}.yaml"
        if len(templates) != expected:
            raise MixingBuddyError(f"{where} holds {len(templates)} templates, not {expected}.")
        for index, template in enumerate(templates):
            if template in templates[:index]:
                raise MixingBuddyError(f"{where}, template {index}: stands there twice.")


def _check_reasons() -> int:
    """Reasons are hedged, name no stem and are different from each other."""
    reasons = load("reasons")
    pools = {"balanced": reasons["balanced"]} | {
        f"{stem}, {direction}": reasons[stem][direction]
        for stem, direction in product(ADVISED_STEMS, (Direction.RAISE, Direction.LOWER))
    }
    texts = [text for pool in pools.values() for text in pool]
    for name, pool in pools.items():
        where = f"templates/reasons.yaml, {name}"
        if len(pool) != prompts.NUM_REASONS:
            raise MixingBuddyError(f"{where}: {len(pool)} reasons, not {prompts.NUM_REASONS}.")
        for text in pool:
            if not _HEDGES.search(text):
                raise MixingBuddyError(f"{where}: no hedge (can, tends to ...) in {text!r}.")
            if named := find_mentions(text.lower()):
                raise MixingBuddyError(f"{where}: {text!r} names the {named[0].stem}.")
            if texts.count(text) > 1:
                raise MixingBuddyError(f"{where}: {text!r} stands there twice.")
    return len(texts)


def _check_openings(name: str) -> None:
    """Openings differ and name no stem but the anchor; nor do verdicts on a claim."""
    openings = [template["opening"] for template in load(name)]
    for index, opening in enumerate(openings):
        template = load(name)[index]
        verdicts = [template[key] for key in ("right", "wrong") if key in template]
        where = f"templates/{name}.yaml, template {index}"
        if opening in openings[:index]:
            raise MixingBuddyError(f"{where}: its opening is that of an earlier one: {opening!r}")
        if name != "responses_differential" and "{anchor" not in opening:
            raise MixingBuddyError(f"{where}: the opening must name the anchor: {opening!r}")
        for text in (opening, *verdicts):
            if re.search("{(target|claim|stem)", text):
                raise MixingBuddyError(f"{where}: must name no stem but the anchor: {text!r}")
        if verdicts and (
            verdicts[0].startswith(verdicts[1]) or verdicts[1].startswith(verdicts[0])
        ):
            raise MixingBuddyError(f"{where}: right and wrong must differ: {verdicts}")


def _claims(prompt_category: PromptCategory, anchor: str) -> list[Claim | None]:
    """Every claim that a prompt of a kind may make."""
    if prompt_category not in DESCRIPTIONS:
        return [None]
    stems = [stem for stem in ADVISED_STEMS if stem != anchor]
    return [Claim(*pair) for pair in product(stems, (Direction.RAISE, Direction.LOWER))]


def _check_instruction(index: int, mode: prompts.Mode, prompt_category: PromptCategory) -> int:
    where = f"templates/instructions{prompts.pool_name(mode, prompt_category)}.yaml, {index}"
    num_texts = 0
    for anchor in ADVISED_STEMS:
        for claim in _claims(prompt_category, anchor):
            text = prompts.instruction(
                index,
                duration_s=10.0,
                stems=STEMS,
                anchor=anchor,
                mode=mode,
                prompt_category=prompt_category,
                claim=claim,
            )
            needed = [anchor.removesuffix("s")]
            if prompt_category is not PromptCategory.AUDIO_ONLY:
                needed += ["10-second", *STEMS]
            elif text.endswith("?"):
                raise MixingBuddyError(f"{where}: asks a question: {text!r}")
            _check_names(text, needed, where)
            _check_length(text, _MAX_INSTRUCTION_WORDS, where)
            if claim is not None:
                advice = parse_advice(text)
                _check_reading((advice.stem, advice.direction), _pair(claim), text, where)
            num_texts += 1
    return num_texts


def _check_response(
    index: int, mode: prompts.Mode, prompt_category: PromptCategory, *, target: str, anchor: str
) -> int:
    """Check one response template, for one target and anchor, in all categories and claims."""
    name = f"responses{prompts.pool_name(mode, prompt_category)}"
    where = f"templates/{name}.yaml, template {index}"
    shortest: dict[Category, str] = {}
    num_texts = 0
    for category in Category:
        claims: Sequence[Claim | None] = [None]
        if prompt_category in DESCRIPTIONS:
            claims = possible_claims(prompt_category, category, target=target, anchor=anchor)
        # Reasons don't depend on the claim: with one claim each is enough.
        reasons = [(claims[0], reason) for reason in range(prompts.NUM_REASONS) if claims]
        for claim, reason in [*product(claims, [None]), *reasons]:
            text = prompts.response(
                index,
                category,
                target=target,
                anchor=anchor,
                mode=mode,
                prompt_category=prompt_category,
                claim=claim,
                reason=reason,
            )
            flaw, advice = FLAWS[category], parse_advice(text)
            stem = None if category is Category.NO_ERROR else target
            expected = (stem, flaw.direction, flaw.min_db, flaw.max_db)
            found = (advice.stem, advice.direction, advice.min_db, advice.max_db)
            max_words = _MAX_RESPONSE_WORDS
            max_words += _MAX_CLAIM_WORDS * (claim is not None)
            max_words += _MAX_REASON_WORDS * (reason is not None)
            _check_length(text, max_words, f"{where}, {category}")
            _check_reading(found, expected, text, f"{where}, {category}")
            unnamed = set(STEMS) - {anchor, claim and claim.stem}
            named = unnamed & set(re.findall(r"\w+", text))
            if category is Category.NO_ERROR and named:
                raise MixingBuddyError(
                    f"{where}, no_error: names {sorted(named)} beside the anchor: {text!r}"
                )
            shortest.setdefault(category, text)
            num_texts += 1
    template = load(name)[index]
    head = template["opening"]
    if prompt_category in DESCRIPTIONS:
        is_correct = prompt_category is PromptCategory.CORRECT_DESCRIPTION
        head = f"{head} {template['right' if is_correct else 'wrong']}"
    _check_order(shortest, target, len(head.split()), where)
    return num_texts


def _check_order(texts: dict[Category, str], target: str, num_head: int, where: str) -> None:
    """After the first ``num_head`` words the stem comes first, then direction, then size."""
    flawed = [text for category, text in texts.items() if category is not Category.NO_ERROR]
    verdict_words = [text.split()[num_head] for text in flawed]
    if set(verdict_words) != {target}:
        raise MixingBuddyError(
            f"{where}: the stem must be the first word after the opening, not {verdict_words}."
        )
    # Words shared by every flawed text, against those shared within one direction.
    num_undirected = num_shared_words(flawed)
    for small, large in (
        (Category.QUIET, Category.VERY_QUIET),
        (Category.LOUD, Category.VERY_LOUD),
    ):
        if num_shared_words([texts[small], texts[large]]) <= num_undirected:
            raise MixingBuddyError(
                f"{where}: {small} and {large} must share the words that give the direction "
                "before they part over the size."
            )


def _check_differential(index: int) -> int:
    """Check one instruction and one response template of the differential mode."""
    where = f"templates/instructions_differential.yaml, template {index}"
    texts = []
    for anchor in (None, *ADVISED_STEMS):
        text = prompts.differential_instruction(index, duration_s=10.0, stems=STEMS, anchor=anchor)
        _check_names(text, ["10-second", *STEMS, "A", "B"], where)
        _check_length(text, _MAX_INSTRUCTION_WORDS, where)
        texts.append(text)
    where = f"templates/responses_differential.yaml, template {index}"
    for changes_db in _all_changes():
        text = prompts.differential_response(index, changes_db, anchor=None)
        _check_reading(parse_changes(text), changes_db, text, where)
        expected = Direction.NONE
        if changes_db:
            expected = Direction.RAISE if next(iter(changes_db.values())) > 0 else Direction.LOWER
        first_stem = next(iter(changes_db), None)
        advice = parse_advice(text)
        _check_reading((advice.stem, advice.direction), (first_stem, expected), text, where)
        _check_length(text, _MAX_RESPONSE_WORDS * max(1, len(changes_db)), where)
        texts.append(text)
    for stem in STEMS:
        up, more, down = (
            prompts.differential_response(index, {stem: change_db}, anchor=None)
            for change_db in (3.0, 7.5, -3.0)
        )
        if num_shared_words([up, more]) <= num_shared_words([up, down]):
            raise MixingBuddyError(f"{where}: the direction must come before the size: {up!r}")
    return len(texts)


def _all_changes() -> Iterator[dict[str, float]]:
    """Changes of none to three stems, in sizes that cover every sign and spelling."""
    for count in range(4):
        for stems in combinations(STEMS, count):
            for sizes_db in product(_SIZES_DB, repeat=count):
                yield dict(zip(stems, sizes_db, strict=True))


def num_shared_words(texts: Sequence[str]) -> int:
    """Number of words that all ``texts`` begin with."""
    num_words = 0
    for words in zip(*(text.split() for text in texts), strict=False):
        if len(set(words)) > 1:
            break
        num_words += 1
    return num_words


def _pair(claim: Claim) -> tuple[str, Direction]:
    return claim.stem, claim.direction


def _check_reading(found: object, expected: object, text: str, where: str) -> None:
    if found != expected:
        raise MixingBuddyError(
            f"{where}: {text!r} parses as {found}, not {expected}: reword it, or teach "
            "templates/advice_lexicon.yaml its words."
        )


def _check_names(text: str, needed: Sequence[str], where: str) -> None:
    for word in needed:
        if word not in text:
            raise MixingBuddyError(f"{where}: doesn't say {word!r}: {text!r}")


def _check_length(text: str, max_words: int, where: str) -> None:
    num_words = len(text.split())
    if num_words > max_words:
        raise MixingBuddyError(f"{where}: {num_words} words, more than {max_words}: {text!r}")

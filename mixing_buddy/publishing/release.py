"""Publishing several repositories together: all are committed before any is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from huggingface_hub import Collection, HfApi

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing.account import check_account
from mixing_buddy.publishing.naming import COLLECTION_TITLE
from mixing_buddy.publishing.plan import RepositoryPlan
from mixing_buddy.publishing.retries import DEFAULT_RETRIES, Retries
from mixing_buddy.publishing.upload import Published, check_before, publish, reveal, set_tag

_DESCRIPTION = "Gain-balance advice on music mixes: datasets, metric, models and a Space to try it."


def refuse_unfit(plans: Sequence[RepositoryPlan]) -> None:
    """Raise unless every plan passes its checks.

    Raises:
        PublishingError: naming everything that is wrong.
    """
    refusals = [f"{plan.repo_id}: {text}" for plan in plans for text in plan.refusals]
    if refusals:
        raise PublishingError("Nothing was published.\n  " + "\n  ".join(refusals))


def publish_all(
    api: HfApi,
    plans: Sequence[RepositoryPlan],
    *,
    private: bool = False,
    tag: str | None = None,
    retries: Retries = DEFAULT_RETRIES,
    on_done: Callable[[Published], None] = lambda published: None,
) -> list[Published]:
    """Publish repositories of one namespace, and gather them in a collection.

    Everything that can be refused is checked first, reading only. New repositories stay private
    until all are complete; then they are tagged, shown and gathered. A run that was broken off goes
    on when it is started again.

    Args:
        api: the Hub.
        plans: what to publish.
        private: leave the repositories private.
        tag: name of a version, put on every repository.
        retries: how often to try what fails for a reason that passes.
        on_done: called as each repository's files are there.

    Raises:
        PublishingError: something may not be published, or the Hub refuses.
    """
    refuse_unfit(plans)
    (namespace,) = {plan.repo_id.partition("/")[0] for plan in plans}
    check_account(api, namespace, retries)
    for plan in plans:
        check_before(api, plan, retries, private=private, tag=tag)
    done = []
    for plan in plans:
        done.append(publish(api, plan, retries))
        on_done(done[-1])
    for published in done:
        if tag:
            set_tag(api, published, tag, retries)
        if published.is_private and not private:
            reveal(api, published, retries)
    _gather(api, namespace, plans, retries, private=private)
    return done


def _gather(
    api: HfApi,
    namespace: str,
    plans: Sequence[RepositoryPlan],
    retries: Retries,
    *,
    private: bool,
) -> Collection:
    """Put repositories into the namespace's collection, made if it is missing."""
    found = retries.call(lambda: list(api.list_collections(owner=namespace)))
    # The list shortens what each collection holds.
    slug = next((each.slug for each in found if each.title == COLLECTION_TITLE), None)
    if slug is not None:
        collection = retries.call(lambda: api.get_collection(slug))
    else:
        collection = retries.call(
            lambda: api.create_collection(
                COLLECTION_TITLE,
                namespace=namespace,
                description=_DESCRIPTION,
                private=private,
                exists_ok=True,
            )
        )
    there = {(item.item_type, item.item_id) for item in collection.items}
    for plan in plans:
        if (plan.repo_type, plan.repo_id) not in there:
            _add(api, collection.slug, plan, retries)
    if collection.private and not private:
        retries.call(lambda: api.update_collection_metadata(collection.slug, private=False))
    return collection


def _add(api: HfApi, slug: str, plan: RepositoryPlan, retries: Retries) -> None:
    retries.call(
        lambda: api.add_collection_item(slug, plan.repo_id, plan.repo_type, exists_ok=True)
    )

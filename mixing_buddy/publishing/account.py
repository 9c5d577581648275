"""Who publishes, and whether the token at hand may. The token itself is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing.retries import Retries

_WRITE = "repo.write"


def check_account(api: HfApi, namespace: str, retries: Retries) -> str:
    """Check that the token may write to a namespace, before anything is uploaded.

    Args:
        api: the Hub.
        namespace: user or organisation.
        retries: how often to ask.

    Returns:
        The user's name.

    Raises:
        PublishingError: there is no token, the Hub does not know it, or it may not write there.
    """
    if not (api.token or get_token()):
        raise PublishingError(
            "There is no access token: run `hf auth login`, or set HF_TOKEN, with a token that may "
            "write."
        )
    try:
        account = retries.call(api.whoami)
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise PublishingError(
                "The Hub does not know the access token: it is wrong, or was revoked. Make a new "
                "one that may write, and run `hf auth login`."
            ) from None
        raise
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise PublishingError(
            "The access token may only read. Make one that may write in the settings of the Hub, "
            "and run `hf auth login`."
        )
    organisations = {each["name"]: each for each in account.get("orgs", [])}
    if namespace not in {account["name"], *organisations}:
        places = ", ".join([account["name"], *organisations])
        raise PublishingError(
            f"{account['name']} may not publish as {namespace}. Possible: --namespace {places}."
        )
    if organisations.get(namespace, {}).get("roleInOrg") == "read":
        raise PublishingError(
            f"{account['name']} may only read in {namespace}: ask an admin for the role 'write'."
        )
    if token.get("role") == "fineGrained" and not _may_write(token, namespace):
        raise PublishingError(
            f"The access token is fine-grained and may not write to repositories of {namespace}: "
            f"give it {_WRITE} there, or use one of the kind 'write'."
        )
    return account["name"]


def _may_write(token: Mapping[str, Any], namespace: str) -> bool:
    scopes = token.get("fineGrained", {}).get("scoped", [])
    return any(
        scope.get("entity", {}).get("name") == namespace and _WRITE in scope.get("permissions", [])
        for scope in scopes
    )

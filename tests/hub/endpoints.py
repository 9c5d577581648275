"""What a stand-in Hub answers to each request that its clients are known to make."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import yaml

if TYPE_CHECKING:
    from server import StandInHub

DATE = "2026-01-01T00:00:00.000Z"
LFS_PATTERNS = ("*.parquet", "*.safetensors", "*.flac", "*.wav", "*.png")
GIT_ATTRIBUTES = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in LFS_PATTERNS)


@dataclass(frozen=True)
class Blob:
    """A file of a commit: its content, or the SHA-256 of what lies in storage."""

    content: bytes
    lfs: str | None = None
    size: int = 0

    @property
    def oid(self) -> str:
        pointer = f"version lfs\noid sha256:{self.lfs}\nsize {self.size}\n".encode()
        data = pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """Commits of `main`, oldest first, each with all its files, and tags."""

    kind: str
    name: str
    private: bool
    sdk: str | None = None
    commits: list[tuple[str, str, dict[str, Blob]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, message: str, files: dict[str, Blob]) -> str:
        seed = f"{self.kind}/{self.name}/{len(self.commits)}/{message}".encode()
        oid = hashlib.sha1(seed).hexdigest()
        self.commits.append((oid, message, files))
        return oid

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[-1][2]

    def at(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        oid = self.head if revision == "main" else self.tags.get(revision, revision)
        return next(((each, files) for each, _, files in self.commits if each == oid), None)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **body):
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message, **body}


def _is_large(path: str, size: int) -> bool:
    return size > 10_000_000 or any(fnmatch.fnmatch(path, each) for each in LFS_PATTERNS)


class Endpoints:
    """Answers: status, body and headers. `hub`, `user`, `query` and `command` are the handler's."""

    hub: StandInHub
    user: dict | None
    query: dict[str, str]
    command: str

    def _may_write(self, namespace: str) -> None:
        if self.user is None:
            raise Refused(401, "Log in first")
        if self.user["role"] not in ("write", "fineGrained"):
            raise Refused(403, "This token may only read")
        if namespace not in ("jane", "band"):
            raise Refused(403, f"You don't have the rights to write to {namespace}")

    def _repository(self, kind: str, name: str) -> Repository:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and self.user is None):
            status = 404 if self.user else 401
            raise Refused(status, "Repository not found", "RepoNotFound")
        return repository

    def _files(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, Blob]]:
        found = self._repository(kind, name).at(revision)
        if found is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def _whoami(self, body) -> tuple:
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        orgs = [{"type": "org", "name": "band", "roleInOrg": "write"}]
        auth = {"type": "access_token", "accessToken": {"displayName": "x", **self.user}}
        return 200, {"type": "user", "name": "jane", "orgs": orgs, "auth": auth}, {}

    def _create(self, body) -> tuple:
        asked = json.loads(body)
        kind, namespace = asked.get("type") or "model", asked.get("organization") or "jane"
        self._may_write(namespace)
        name = f"{namespace}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        answer = {"url": f"{self.hub.url}/{prefix}{name}", "id": name, "name": name}
        if (kind, name) in self.hub.repositories:
            raise Refused(409, "You already created this repository", **answer)
        private = asked.get("visibility") == "private"
        repository = Repository(kind, name, private, asked.get("sdk"))
        repository.commit("initial commit", {".gitattributes": Blob(GIT_ATTRIBUTES.encode())})
        self.hub.repositories[kind, name] = repository
        return 200, answer, {}

    def _settings(self, body, kind, name) -> tuple:
        self._may_write(name.partition("/")[0])
        self._repository(kind, name).private = json.loads(body)["visibility"] == "private"
        return 200, {}, {}

    def _validate(self, body) -> tuple:
        asked = json.loads(body)
        found = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        errors = []
        try:
            metadata = yaml.safe_load(found[1]) if found else {}
            if not isinstance(metadata, dict):
                errors.append({"message": "metadata must be a mapping"})
            elif asked["repoType"] == "space" and not metadata.get("sdk"):
                errors.append({"message": '"sdk" is required'})
        except yaml.YAMLError as error:
            errors.append({"message": str(error)})
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        return (400 if errors else 200), {"errors": errors, "warnings": warnings}, {}

    def _info(self, body, kind, name, revision="main") -> tuple:
        repository = self._repository(kind, name)
        oid, files = self._files(kind, name, revision)
        info = {
            "_id": "0" * 24,
            "id": name,
            "author": name.partition("/")[0],
            "sha": oid,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "createdAt": DATE,
            "lastModified": DATE,
            "siblings": [{"rfilename": path} for path in files],
        }
        if kind == "space":
            info |= {"sdk": repository.sdk, "runtime": {"stage": "RUNNING", "hardware": {}}}
        return 200, info, {}

    @staticmethod
    def _entry(path: str, blob: Blob) -> dict:
        size = blob.size if blob.lfs else len(blob.content)
        entry = {"type": "file", "oid": blob.oid, "size": size, "path": path}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.lfs, "size": blob.size, "pointerSize": 130}
        return entry

    def _tree(self, body, kind, name, revision, folder="") -> tuple:
        _, files = self._files(kind, name, revision)
        start = f"{folder}/" if folder else ""
        inside = {path: blob for path, blob in files.items() if path.startswith(start)}
        if folder and not inside:
            raise Refused(404, f"{folder} does not exist", "EntryNotFound")
        recursive = self.query.get("recursive", "false").lower() in ("true", "1")
        entries, folders = [], set()
        for path, blob in inside.items():
            parts = path[len(start) :].split("/")
            folders |= {start + "/".join(parts[:n]) for n in range(1, len(parts))}
            if recursive or len(parts) == 1:
                entries.append(self._entry(path, blob))
        shown = [f for f in sorted(folders) if recursive or "/" not in f[len(start) :]]
        trees = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in shown]
        return 200, trees + entries, {}

    def _paths_info(self, body, kind, name, revision) -> tuple:
        _, files = self._files(kind, name, revision)
        if self.headers.get("Content-Type", "").startswith("application/json"):
            asked = json.loads(body)["paths"]
        else:
            asked = parse_qs(body.decode())["paths"]
        entries = [self._entry(path, files[path]) for path in asked if path in files]
        for folder in asked:
            if any(path.startswith(f"{folder}/") for path in files):
                tree = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
                entries.append(tree)
        return 200, entries, {}

    def _refs(self, body, kind, name) -> tuple:
        repository = self._repository(kind, name)

        def ref(group: str, each: str, oid: str) -> dict:
            return {"name": each, "ref": f"refs/{group}/{each}", "targetCommit": oid}

        tags = [ref("tags", each, oid) for each, oid in repository.tags.items()]
        heads = [ref("heads", "main", repository.head)]
        return 200, {"branches": heads, "converts": [], "tags": tags}, {}

    def _tag(self, body, kind, name, revision) -> tuple:
        self._may_write(name.partition("/")[0])
        oid, _ = self._files(kind, name, revision)
        tag = json.loads(body)["tag"]
        tags = self._repository(kind, name).tags
        if tag in tags:
            raise Refused(409, "Tag reference exists already")
        tags[tag] = oid
        return 200, {}, {}

    def _preupload(self, body, kind, name, revision) -> tuple:
        self._may_write(name.partition("/")[0])
        _, files = self._files(kind, name, revision)
        asked = json.loads(body)
        ignored = asked.get("gitIgnore")
        if ignored is None:
            ignored = files[".gitignore"].content.decode() if ".gitignore" in files else ""
        patterns = ignored.split()
        answers = []
        for file in asked["files"]:
            path = file["path"]
            blob = files.get(path)
            answers.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if _is_large(path, file["size"]) else "regular",
                    "shouldIgnore": any(fnmatch.fnmatch(path, each) for each in patterns),
                    "oid": blob and (blob.lfs or blob.oid),
                }
            )
        return 200, {"files": answers}, {}

    def _lfs_batch(self, body, name, kind=None) -> tuple:
        self._may_write(name.partition("/")[0])
        objects = []
        for each in json.loads(body)["objects"]:
            answer = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.storage:
                verify = f"{self.hub.url}/{name}.git/info/lfs/verify"
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.storage_url}/upload/{each['oid']}"},
                    "verify": {"href": verify},
                }
            objects.append(answer)
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _lfs_verify(self, body, name) -> tuple:
        asked = json.loads(body)
        if len(self.hub.storage.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, "no such object")
        return 200, {}, {}

    def _commit(self, body, kind, name, revision) -> tuple:
        self._may_write(name.partition("/")[0])
        repository = self._repository(kind, name)
        files, message = dict(repository.files), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", repository.head) != repository.head:
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            elif item["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.storage:
                    raise Refused(400, f"LFS object {value['oid']} is missing")
                files[value["path"]] = Blob(b"", value["oid"], value["size"])
            elif item["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise Refused(400, f"unknown operation {item['key']}")
        oid = repository.commit(message, files)
        url = f"{self.hub.url}/{name}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url}, {}

    def _resolve(self, body, name, revision, path, kind=None) -> tuple:
        kind = (kind or "model").removesuffix("s")
        oid, files = self._files(kind, name, revision)
        headers = {"X-Repo-Commit": oid}
        blob = files.get(path)
        if blob is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return 404, {"error": "Entry not found"}, headers
        if not blob.lfs:
            return 200, blob.content, headers | {"ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
        linked = {"X-Linked-ETag": f'"{blob.lfs}"', "X-Linked-Size": str(blob.size)}
        location = f"{self.hub.storage_url}/objects/{blob.lfs}"
        return 302, b"", headers | linked | {"Location": location}

    def _list_collections(self, body) -> tuple:
        owner = self.query.get("owner")
        found = [each for each in self.hub.collections.values() if each["owner"] == owner]
        shown = [each | {"items": each["items"][:4]} for each in found]
        for each in shown:
            del each["position"]  # the client counts for itself
        return 200, shown, {}

    def _create_collection(self, body) -> tuple:
        asked = json.loads(body)
        self._may_write(asked["namespace"])
        slug = f"{asked['namespace']}/{asked['title'].lower().replace(' ', '-')}-{'0' * 24}"
        self.hub.collections[slug] = {
            "slug": slug,
            "title": asked["title"],
            "owner": asked["namespace"],
            "description": asked.get("description"),
            "private": asked["private"],
            "items": [],
            "lastUpdated": DATE,
            "position": 0,
            "theme": "blue",
            "upvotes": 0,
        }
        return 200, self.hub.collections[slug], {}

    def _collection(self, body, slug) -> tuple:
        collection = self.hub.collections[slug]
        if self.command == "PATCH":
            self._may_write(collection["owner"])
            collection.update(json.loads(body))
            return 200, {"data": collection}, {}
        return 200, collection, {}

    def _collection_items(self, body, slug) -> tuple:
        collection = self.hub.collections[slug]
        self._may_write(collection["owner"])
        item = json.loads(body)["item"]
        if any(item["id"] == each["id"] for each in collection["items"]):
            raise Refused(409, "Item already in the collection")
        position = len(collection["items"])
        collection["items"].append(
            {"_id": f"{position:024d}", "position": position, **item, "repoType": item["type"]}
        )
        return 200, collection, {}


_NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
_API = rf"/api/(?P<kind>model|dataset|space)s/{_NAME}"
_WEB = rf"/(?:(?P<kind>datasets|spaces)/)?{_NAME}"
_REVISION = r"(?P<revision>[^/]+)"
_SLUG = r"/api/collections/(?P<slug>[\w.-]+/[\w.-]+)"
ROUTES = (
    (("GET",), r"/api/whoami-v2", "whoami"),
    (("POST",), r"/api/repos/create", "create"),
    (("POST",), r"/api/validate-yaml", "validate"),
    (("GET",), r"/api/collections", "list_collections"),
    (("POST",), r"/api/collections", "create_collection"),
    (("POST",), rf"{_SLUG}/items", "collection_items"),
    (("GET", "PATCH"), _SLUG, "collection"),
    (("GET",), _API, "info"),
    (("GET",), rf"{_API}/revision/{_REVISION}", "info"),
    (("PUT",), rf"{_API}/settings", "settings"),
    (("GET",), rf"{_API}/refs", "refs"),
    (("GET",), rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+?))?/?", "tree"),
    (("POST",), rf"{_API}/paths-info/{_REVISION}", "paths_info"),
    (("POST",), rf"{_API}/tag/{_REVISION}", "tag"),
    (("POST",), rf"{_API}/preupload/{_REVISION}", "preupload"),
    (("POST",), rf"{_API}/commit/{_REVISION}", "commit"),
    (("POST",), rf"{_WEB}\.git/info/lfs/objects/batch", "lfs_batch"),
    (("POST",), rf"/{_NAME}\.git/info/lfs/verify", "lfs_verify"),
    (("GET", "HEAD"), rf"{_WEB}/resolve/{_REVISION}/(?P<path>.+)", "resolve"),
)

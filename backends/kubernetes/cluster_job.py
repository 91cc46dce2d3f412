"""A job's objects in the cluster: may we, make them, remove them. Nothing else is touched."""

from __future__ import annotations

from typing import Any, NamedTuple

from madrun.backends.kubernetes.api import Api, ApiError, Object, UnreachableError
from madrun.backends.kubernetes.manifests import PodJob, manifests, owned
from madrun.system.errors import ClusterError

_RESOURCES = {"Job": "jobs", "Service": "services", "Secret": "secrets", "ConfigMap": "configmaps"}


class Permission(NamedTuple):
    """What may be asked of the API server; ``resource`` may have a part of it: ``pods/log``."""

    verb: str
    resource: str
    group: str = ""


# What the Role in docs/kubernetes.md has, and a test compares.
NEEDED = (
    Permission("create", "jobs", "batch"),
    Permission("delete", "jobs", "batch"),
    Permission("list", "jobs", "batch"),
    Permission("watch", "jobs", "batch"),
    Permission("create", "services"),
    Permission("create", "secrets"),
    Permission("create", "configmaps"),
    Permission("list", "pods"),
    Permission("watch", "pods"),
    Permission("get", "pods/log"),
    Permission("get", "pods/portforward"),
    Permission("create", "pods/portforward"),
    Permission("list", "events"),
    Permission("watch", "events"),
)
_ONLY_TO_SHIP = Permission("create", "configmaps")
_ONLY_ATTACHED = ("pods/portforward",)


def check_permissions(api: Api, ships: bool, attached: bool) -> None:
    """Ask before anything is made; raises ClusterError that names what is not allowed."""
    for each in NEEDED:
        if each == _ONLY_TO_SHIP and not ships:
            continue
        if each.resource in _ONLY_ATTACHED and not attached:
            continue
        if not _may(api, each):
            other = " (--k8s channel=log does without)" if each.resource in _ONLY_ATTACHED else ""
            raise ClusterError(
                f"Kubernetes does not allow this user to {each.verb} {each.resource} in the"
                f" namespace {api.namespace}{other}: docs/kubernetes.md has the Role that is needed"
            )


def _may(api: Api, permission: Permission) -> bool:
    resource, _, part = permission.resource.partition("/")
    attributes = {
        "namespace": api.namespace,
        "verb": permission.verb,
        "group": permission.group,
        "resource": resource,
        "subresource": part,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = api.request("POST", path, review)
    except ApiError as error:
        if error.status == 401:
            raise
        return True  # who may not ask will see
    return bool(answer.get("status", {}).get("allowed"))


class ClusterJob:
    """The objects of one job, the Job first: the others belong to it, and go with it."""

    def __init__(self, api: Api, job: PodJob) -> None:
        self._api, self._job = api, job
        self.owner: Object = {}
        self._asked = False

    def create(self) -> None:
        """Make all; raises ClusterError, and then some may be there."""
        first, *rest = manifests(self._job)
        self._asked = True  # an answer that does not come says nothing
        try:
            made = self._post(first)
        except UnreachableError:
            raise
        except ClusterError:
            self._asked = False
            raise
        self.owner = {"apiVersion": first["apiVersion"], "kind": first["kind"], **made}
        for each in rest:
            self._post(owned(each, self.owner))

    def _post(self, manifest: dict[str, Any]) -> Object:
        kind = manifest["kind"]
        path = self._api.path(manifest["apiVersion"], _RESOURCES[kind])
        try:
            return self._api.request("POST", path, manifest)
        except ApiError as error:
            name = manifest["metadata"]["name"]
            raise ClusterError(f"the {kind} {name} was not made: {error}") from None

    def delete(self) -> bool:
        """Ask for the Job's end, and all that belongs to it; False where it is gone already.

        Raises ClusterError where nobody can be asked.
        """
        if not self._asked:
            return False
        name = self._job.names.job
        options: Object = {"propagationPolicy": "Foreground"}
        if uid := self.owner.get("metadata", {}).get("uid"):
            options["preconditions"] = {"uid": uid}
        try:
            self._api.request("DELETE", self._api.path("batch/v1", "jobs", name), options)
        except UnreachableError:
            raise
        except ApiError as error:
            if error.status in (404, 409):  # gone, or another one of this name
                return False
            raise
        return True

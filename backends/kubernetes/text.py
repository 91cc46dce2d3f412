"""Manifests as text, for ``kubectl apply -f -``."""

from __future__ import annotations

import json

from madrun.backends.kubernetes.manifests import PodJob, manifests
from madrun.system.errors import InputError


def shown(job: PodJob, as_json: bool, hide: bool) -> str:
    """All manifests: YAML documents, or one List in JSON. Raises InputError without PyYAML."""
    made = manifests(job, hide)
    if as_json:
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2)
    try:
        import yaml
    except ImportError:
        raise InputError(
            "--dry-run: to write YAML, PyYAML is needed: pip install 'madrun[k8s]';"
            " --json needs nothing"
        ) from None
    text: str = yaml.safe_dump_all(made, sort_keys=False, explicit_start=True, width=100)
    return text.rstrip("\n")

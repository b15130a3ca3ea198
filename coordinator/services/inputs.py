"""What the tasks before a task have left for it: their results, which flow into its command."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.models import ids
from coordinator.models.jsontext import Json
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.reads import Nodes


def results_of(store: Store, session_id: str, task_ids: Sequence[str]) -> dict[str, Json]:
    """`{id: result}` of these tasks, in one read; one that does not exist is left out, null is a result too."""
    if not task_ids:
        return {}
    project, name = ids.session_id(session_id)
    nodes = Nodes(name, TASKS, tuple(task_ids))
    found = store.project(project).fetch(nodes)[nodes]
    return {task_id: node.value["result"] for task_id, node in zip(task_ids, found, strict=True) if node.exists}

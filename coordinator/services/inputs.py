"""What a run of a task needs beside the task: the results of the tasks before it, which flow into its command, and what
its project holds secret."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.models import ids
from coordinator.models.jsontext import Json
from coordinator.rules import redaction
from coordinator.services.shared import CONFIG
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Nodes


def of_run(store: Store, session_id: str, task_ids: Sequence[str]) -> tuple[dict[str, Json], list[str]]:
    """In one read: `{id: result}` of these tasks (one that does not exist is left out, null is a result too), and the
    project's patterns of secrets. InvalidData for patterns that are none."""
    project, name = ids.session_id(session_id)
    nodes, security = Nodes(name, TASKS, tuple(task_ids)), Node(SHARED, CONFIG, redaction.SECTION)
    snapshot = store.project(project).fetch(nodes, security)
    found = zip(task_ids, snapshot[nodes], strict=True)
    results = {task_id: node.value["result"] for task_id, node in found if node.exists}
    return results, redaction.patterns_of(snapshot[security].value)

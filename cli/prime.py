"""`coord prime`: a session in at most 2,000 bytes, for an agent's context."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import AgentOpt, SessionArg
from cli.output import emit, emit_text, json_forced

app = group("What an agent should know of a session when it begins.")


@command(app, examples=["coord prime @", "coord prime @ --agent ann"])
def prime(session: SessionArg, agent: AgentOpt = None) -> None:
    """What an agent should know of a session when it begins, in at most 2,000 bytes: text also in a pipe.

    With --agent (or COORD_AGENT) it counts that agent's unread messages too.
    """
    from coordinator.services import prime as priming

    text = priming.prime(context().store, session, agent)
    if json_forced():
        emit({"session": session, "text": text})
    else:
        emit_text(text)

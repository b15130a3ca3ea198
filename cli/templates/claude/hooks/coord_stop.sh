#!/bin/sh
# Stop: a turn has ended, so the owner of the session (COORD_SESSION, or coord.toml) is there: renews its heartbeat.
# Says nothing, and never stops anybody's work.
coord=${COORD_BIN:-coord}
command -v "$coord" >/dev/null 2>&1 || coord=$(cat "$(dirname "$0")/../.coord-bin" 2>/dev/null)
command -v "$coord" >/dev/null 2>&1 || exit 0
"$coord" session heartbeat @ >/dev/null 2>&1
exit 0

#!/bin/sh
# SessionStart: what the agent has to know of its session (COORD_SESSION, or coord.toml), at most 2 kB on stdout.
# Says nothing where there is no session or no coord, and never stops anybody's work.
coord=${COORD_BIN:-coord}
command -v "$coord" >/dev/null 2>&1 || coord=$(cat "$(dirname "$0")/../.coord-bin" 2>/dev/null)
command -v "$coord" >/dev/null 2>&1 || exit 0
"$coord" prime @ 2>/dev/null
exit 0

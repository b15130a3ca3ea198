#!/bin/sh
# SessionStart: shows the agent where its session (COORD_SESSION, or coord.toml) stands, in at most 2,000 bytes.
# Says nothing where there is no session or no coord, and never stops anybody's work.
coord=${COORD_BIN:-coord}
command -v "$coord" >/dev/null 2>&1 || coord=$(cat "$(dirname "$0")/../.coord-bin" 2>/dev/null)
command -v "$coord" >/dev/null 2>&1 || exit 0
"$coord" prime @ 2>/dev/null
exit 0

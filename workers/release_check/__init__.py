"""The steps of the shipped workflow `release-check`, which `coord demo` runs: seventeen that do real work on a git
repository, one a task (sixteen checks, and the verdict after all of them), and the page for a check that does not hold.

`coord workflow step release-check STEP REPOSITORY OUTPUT` reads the task as JSON on stdin (the results of the tasks
before it under `inputs`), writes what it found under OUTPUT, and ends with its result as one line of JSON. A check
that does not hold ends with exit code 1 and says why; one that this repository has nothing for says `skipped`.
"""

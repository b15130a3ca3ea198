"""The command, run as a process: stdout, stderr, exit codes."""

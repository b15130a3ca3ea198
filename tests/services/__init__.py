"""The domain's verbs, on a real server."""

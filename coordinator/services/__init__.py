"""The domain's verbs: read, decide by the rules, one commit."""

"""The coordinator: shared truth in Redis for teams of AI agents on several machines."""

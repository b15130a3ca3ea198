"""The coordinator: shared truth in Redis for teams of AI agents on several machines."""

__version__ = "0.1.0"
__all__ = ["__version__"]

"""The outbox and the storage SCU."""

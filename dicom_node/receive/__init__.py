"""The storage SCP: associations, peers, spool."""

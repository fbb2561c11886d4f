"""From received instances to analysable acquisitions: kind, grouping, completeness."""

"""Digital stroke patients with known truth."""

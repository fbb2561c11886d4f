"""A small analytic head, fast and independent of the simulator, for everybody's tests."""

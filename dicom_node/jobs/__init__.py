"""The database, the jobs in it and the worker that runs them."""

"""How well engines and networks measure what is known."""

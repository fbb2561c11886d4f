"""Recipes: how each system is trained, one file each."""

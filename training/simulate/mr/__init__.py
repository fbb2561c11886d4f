"""MR of a patient: protocols, signal, images and their truth."""

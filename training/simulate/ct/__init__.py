"""CT of a patient: protocols, images and their truth."""

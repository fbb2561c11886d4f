"""What befalls a head: hemorrhage, stroke, mimics, disturbed flow, and the patient of it all."""

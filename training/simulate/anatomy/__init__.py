"""A person's head: who they are, and what each voxel of it is made of."""

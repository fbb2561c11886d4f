"""Cases for training derived head CT: a CT perfusion and the head CT of the same patient."""

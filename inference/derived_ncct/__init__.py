"""A head CT without contrast, derived from CT perfusion (van de Leemput et al. 2020, IEEE Trans
Med Imaging 39:985)."""

"""How predict.py, and whoever reads with a model, reads sites that the model was not made for."""

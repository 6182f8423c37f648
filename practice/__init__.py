"""The practice captchas, the website that serves them, and the model that was trained on them."""

"""The steps of which a style (styles.py) is made: (rng, canvas, palette, hard) -> canvas."""

"""Formats on disk, guarded against damage: images, tables, and the names of split files."""

"""What train_script.py stands on: data in memory, augmentation, check-up, figures, pictures."""

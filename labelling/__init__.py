"""How images get their labels: the label window, what it proposes, and labels from elsewhere."""

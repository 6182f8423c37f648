"""Characters without labels: cut out of images, grouped, named."""

"""What moves the models from one measurement to the next."""

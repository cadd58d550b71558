"""What nodes tell one another: four verbs, the messages that get lost, and the bytes that are sent."""

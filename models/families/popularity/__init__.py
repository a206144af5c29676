"""What is bought most, lately, or in a category."""

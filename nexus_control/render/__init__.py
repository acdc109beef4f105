"""Views to text: nothing else in the library formats."""

"""Query understanding: what kind of question it is, and what else to search for so that its answer is found."""

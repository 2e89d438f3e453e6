"""What the course's commands run."""

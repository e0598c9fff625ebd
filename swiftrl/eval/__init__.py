"""Evaluation: tasks as small files, replies by engines or servers, scores with their errors."""

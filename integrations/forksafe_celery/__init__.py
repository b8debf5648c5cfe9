"""`forksafe_pool` for Celery."""

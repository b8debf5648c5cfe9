"""`forksafe_pool` for uWSGI."""

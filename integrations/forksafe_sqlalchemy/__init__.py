"""`forksafe_pool` for SQLAlchemy."""

"""`forksafe_pool` for RQ."""

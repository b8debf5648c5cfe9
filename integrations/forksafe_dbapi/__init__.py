"""`forksafe_pool` for any DB-API 2 driver."""

"""`forksafe_pool` for psycopg 3."""

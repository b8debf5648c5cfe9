"""A pool that survives ``fork()``, for any DB-API 2 driver: psycopg2, PyMySQL, mysqlclient …

::

    from functools import partial

    import pymysql
    from forksafe_dbapi import Pool

    pool = Pool(partial(pymysql.connect, host="localhost", database="shop"), max_size=5)

    with pool.connection() as conn:
        with conn.cursor() as cursor:
            cursor.execute("UPDATE …")
        conn.commit()  # what is not committed is rolled back
"""

from forksafe_dbapi._pool import Pool

__all__ = ["Pool"]

"""What is tortured, in the order of the tables: each driver in our pool, then in its peers'."""

from __future__ import annotations

from tests.torture import mongo, redis_py, sockets, sql
from tests.torture.subject import Driver, Pool

MATRIX: list[tuple[type[Driver], tuple[type[Pool], ...]]] = [
    *(
        (
            driver,
            (
                redis_py.OurPool,
                redis_py.OurBlockingPool,
                redis_py.TheirPool,
                redis_py.TheirBlockingPool,
            ),
        )
        for driver in (redis_py.RedisPy, redis_py.Subscription, redis_py.TlsRedisPy)
    ),
    (sql.Psycopg, (sql.OurPsycopg, sql.PsycopgPool)),
    (sql.TlsPsycopg, (sql.OurPsycopg, sql.PsycopgPool)),
    (sql.Psycopg2, (sql.OurDbapi, sql.Psycopg2Pool)),
    (sql.TlsPsycopg2, (sql.OurDbapi, sql.Psycopg2Pool)),
    (sql.PyMySQL, (sql.OurDbapi, sql.DBUtils)),
    (sql.TlsPyMySQL, (sql.OurDbapi, sql.DBUtils)),
    (sql.MySQLClient, (sql.OurDbapi, sql.DBUtils)),
    *(
        (driver, (sql.OurSqlAlchemy, sql.SqlAlchemy))
        for driver in (
            sql.SqlAlchemyPsycopg,
            sql.TlsSqlAlchemyPsycopg,
            sql.SqlAlchemyPsycopg2,
            sql.SqlAlchemyPyMySQL,
            sql.SqlAlchemyMySQLClient,
        )
    ),
    (sockets.Memcache, (sockets.Ours, sockets.ObjectPool)),
    (mongo.PyMongo, (mongo.OurPyMongo, mongo.MongoClient)),
    (sockets.Http, (sockets.Ours, sockets.Urllib3)),
    (sockets.TlsHttp, (sockets.Ours, sockets.Urllib3)),
    (sockets.Socket, (sockets.Ours, sockets.LifoQueue)),
    (sockets.TlsSocket, (sockets.Ours, sockets.LifoQueue)),
]


def find(driver: str, pool: str) -> tuple[type[Driver], type[Pool]]:
    """By their names."""
    return next(
        (kind, one)
        for kind, pools in MATRIX
        for one in pools
        if (kind.name, one.name) == (driver, pool)
    )

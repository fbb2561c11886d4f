"""The database: engine, transactions, migrations.

SQLite runs in WAL mode with full synchronisation: a commit survives a power cut. Transactions that
write start with BEGIN IMMEDIATE, so two writers wait for each other instead of failing half-way.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from dicom_node.errors import StorageError
from dicom_node.jobs.models import Job

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30
MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """Transactions on the node's database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///…`` (a local disk only) or ``postgresql+…``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    def exists(self) -> bool:
        """Whether a node has made its tables here; nothing is created."""
        target = make_url(self.url)
        if target.get_backend_name() == "sqlite" and not Path(target.database or "").is_file():
            return False
        with self.engine.connect() as connection:
            return inspect(connection).has_table(Job.__tablename__)

    def upgrade(self) -> None:
        """Create the tables, or bring them to this version."""
        target = make_url(self.url)
        if target.get_backend_name() == "sqlite" and target.database:
            Path(target.database).parent.mkdir(parents=True, exist_ok=True)
        with self.engine.begin() as connection:
            command.upgrade(alembic_config(connection), "head")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One writing transaction: commits at the end, rolls back on an error.

        Raises
        ------
        StorageError
            The database stays locked, or its disk is full or read-only.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise StorageError(
                f"the database refused to write ({error.orig}); check its disk"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One reading transaction: a consistent view that holds up no writer.

        Raises
        ------
        StorageError
            The database cannot be read.
        """
        engine = self.engine.execution_options(strokenode_read=True)
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise StorageError(
                f"the database cannot be read ({error.orig}); check its disk"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def alembic_config(connection: Connection) -> AlembicConfig:
    """Alembic's configuration for an open connection."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def now() -> float:
    """Seconds since 1970, the clock of every table."""
    return time.time()


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("strokenode_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine

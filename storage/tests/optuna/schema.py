"""Prints tables, columns and indexes of a database, or those of a new one that Optuna makes: argv = URL."""

import sys

import optuna
import sqlalchemy

url = sys.argv[1]
optuna.storages.RDBStorage(url)
inspector = sqlalchemy.inspect(sqlalchemy.create_engine(url))
for table in sorted(inspector.get_table_names()):
    if table.startswith("nasgen_"):
        continue
    print(table, "key", inspector.get_pk_constraint(table)["constrained_columns"])
    for column in inspector.get_columns(table):
        print(table, column["name"], column["type"], "" if column["nullable"] else "NOT NULL", column.get("default"))
    uniques = sorted(constraint["column_names"] for constraint in inspector.get_unique_constraints(table))
    print(table, "unique", uniques)
    for index in sorted(inspector.get_indexes(table), key=str):
        print(table, "index", index["name"], index["column_names"], bool(index["unique"]))
    for key in inspector.get_foreign_keys(table):
        print(table, "refers", key["constrained_columns"], key["referred_table"], key["referred_columns"])
for name in ["version_info.schema_version", "alembic_version.version_num"]:
    table, column = name.split(".")
    with sqlalchemy.create_engine(url).connect() as connection:
        print(name, connection.execute(sqlalchemy.text(f"SELECT {column} FROM {table}")).all())

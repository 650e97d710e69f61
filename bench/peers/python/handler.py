"""The usual handler: the SDK's client and the connection are made once, outside the handler."""

import json
import os

import boto3

ENGINE = os.environ["DB_ENGINE"]

# Imported only by who needs it, as in a function for one engine.
if ENGINE == "postgres":
    import psycopg
    from psycopg.rows import dict_row
else:
    import pymysql

secrets_manager = boto3.client("secretsmanager")
connection = None


def connect():
    answer = secrets_manager.get_secret_value(SecretId=os.environ["DB_SECRET_ID"])
    secret = json.loads(answer["SecretString"])
    ca = os.environ["DB_TLS_CA"]
    if ENGINE == "postgres":
        return psycopg.connect(
            host=secret["host"],
            port=secret["port"],
            user=secret["username"],
            password=secret["password"],
            dbname=secret["dbname"],
            sslmode="verify-full",
            sslrootcert=ca,
            autocommit=True,
            row_factory=dict_row,
        )
    return pymysql.connect(
        host=secret["host"],
        port=int(secret["port"]),
        user=secret["username"],
        password=secret["password"],
        database=secret["dbname"],
        ssl_ca=ca,
        ssl_verify_cert=True,
        ssl_verify_identity=True,
        autocommit=True,
        cursorclass=pymysql.cursors.DictCursor,
    )


def insert(entries):
    upsert = (
        "ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text"
        if ENGINE == "postgres"
        else "ON DUPLICATE KEY UPDATE text = VALUES(text)"
    )
    statement = f"INSERT INTO notes (id, text) VALUES (%s, %s) {upsert}"
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        for entry in entries:
            cursor.execute(statement, (entry["id"], entry["text"]))
        cursor.execute("COMMIT")
    return len(entries)


def handler(event):
    global connection
    if connection is None:
        connection = connect()
    if "batch" in event:
        body = insert(event["batch"]["params"])
    else:
        with connection.cursor() as cursor:
            if event["query"] == "some_rows":
                statement = "SELECT id, name, email FROM many ORDER BY id LIMIT %s"
                cursor.execute(statement, (event["params"]["count"],))
            else:
                statement = "SELECT id, name, email FROM users WHERE active = %s ORDER BY id"
                cursor.execute(statement, (event["params"]["active"],))
            body = cursor.fetchall()
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}

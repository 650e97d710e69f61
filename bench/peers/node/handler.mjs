// The usual handler: the SDK's client and the driver's pool are made once, outside the handler.
import { readFileSync } from "node:fs";
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";

// Imported only by who needs it, as in a function for one engine.
const engine = process.env.DB_ENGINE;
const driver = engine === "postgres" ? (await import("pg")).default : await import("mysql2/promise");
const secretsManager = new SecretsManagerClient({});

// One execution environment: its pool, opened by the first call, and its handler.
export function environment() {
  let pool;
  const connected = async () => {
    pool ??= connect();
    return pool;
  };
  return async (event) => {
    const body = await calls[engine](await connected(), event);
    return { statusCode: 200, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  };
}

async function connect() {
  const answer = await secretsManager.send(new GetSecretValueCommand({ SecretId: process.env.DB_SECRET_ID }));
  const secret = JSON.parse(answer.SecretString);
  const ca = readFileSync(process.env.DB_TLS_CA);
  const login = { host: secret.host, port: Number(secret.port), user: secret.username, password: secret.password };
  if (engine === "mysql") {
    return driver.createPool({ ...login, database: secret.dbname, ssl: { ca, verifyIdentity: true } });
  }
  const pool = new driver.Pool({ ...login, database: secret.dbname, ssl: { ca } });
  // Without a listener, an idle connection that breaks ends the process.
  pool.on("error", () => {});
  return pool;
}

const calls = {
  async postgres(pool, event) {
    if (event.batch) {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        const text =
          "INSERT INTO notes (id, text) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text";
        for (const entry of event.batch.params) {
          await client.query({ name: "insert", text, values: [entry.id, entry.text] });
        }
        await client.query("COMMIT");
      } finally {
        client.release();
      }
      return event.batch.params.length;
    }
    if (event.query === "some_rows") {
      const text = "SELECT id, name, email FROM many ORDER BY id LIMIT $1";
      return (await pool.query({ name: "some_rows", text, values: [event.params.count] })).rows;
    }
    const text = "SELECT id, name, email FROM users WHERE active = $1 ORDER BY id";
    return (await pool.query({ name: "active_users", text, values: [event.params.active] })).rows;
  },
  async mysql(pool, event) {
    if (event.batch) {
      const connection = await pool.getConnection();
      try {
        await connection.beginTransaction();
        const text = "INSERT INTO notes (id, text) VALUES (?, ?) ON DUPLICATE KEY UPDATE text = VALUES(text)";
        for (const entry of event.batch.params) {
          await connection.execute(text, [entry.id, entry.text]);
        }
        await connection.commit();
      } finally {
        connection.release();
      }
      return event.batch.params.length;
    }
    if (event.query === "some_rows") {
      const text = "SELECT id, name, email FROM many ORDER BY id LIMIT ?";
      return (await pool.execute(text, [String(event.params.count)]))[0];
    }
    const text = "SELECT id, name, email FROM users WHERE active = ? ORDER BY id";
    return (await pool.execute(text, [event.params.active]))[0];
  },
};

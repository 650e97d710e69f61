// What somebody writes who has the client: every kind of call, and what came of it. `node calls.js URL`.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";

import * as shop from "./shop.js";
import { Fault, batch, http, invoke, steps, transaction } from "./shop.js";

const url = process.argv[2] ?? "";
const credentials = { accessKeyId: "x", secretAccessKey: "x" };
const lambda = new LambdaClient({ endpoint: url, region: "eu-central-1", credentials, maxAttempts: 1 });
const web = http(url);
const direct = invoke(lambda, InvokeCommand, "shop");

async function fails(code: shop.Code, status: number, call: () => Promise<unknown>): Promise<Fault> {
    try {
        await call();
    } catch (error) {
        assert.ok(error instanceof Fault, String(error));
        assert.deepEqual([error.code, error.status], [code, status], error.message);
        return error;
    }
    throw new Error(`${code} was expected`);
}

const digits = "123456789012345678901234567890.123456789012345678901234567890";
await shop.forget(direct);
for (const via of [web, direct]) {
    const users: shop.ActiveUsersRow[] = await shop.activeUsers(via, { limit: 2 });
    assert.deepEqual(users.map(({ id, name }) => [id, name]), [[1n, "Ada"], [2n, "Grace"]]);
    assert.deepEqual(await shop.activeUsers(via, { active: false }), []);

    const doc = { big: 9223372036854775807n, text: '"\\\n😀', list: [1, null, 1.5, true], __proto__: 1 };
    const exact = await shop.exact(via, {
        wide: 9223372036854775807n,
        digits,
        ratio: -Infinity,
        doc,
        raw: Uint8Array.of(0, 255, 128),
        wides: [-9223372036854775808n, 1, null],
        state: "closed",
        level: 5,
        marks: ["a", "b"],
    });
    assert.deepEqual(exact, {
        wide: 9223372036854775807n,
        digits,
        ratio: -Infinity,
        doc: { big: 9223372036854775807n, text: '"\\\n😀', list: [1, null, 1.5, true] },
        raw: Uint8Array.of(0, 255, 128),
        wides: [-9223372036854775808n, 1n, null],
        state: "closed",
        level: 5n,
        marks: ["a", "b"],
        "no name": null,
    });
    const defaults = await shop.exact(via, { wide: 1, digits: "0.10" });
    assert.deepEqual([defaults.wide, defaults.digits, defaults.ratio, defaults.doc], [1n, "0.10", 1.5, { a: [1] }]);
    assert.deepEqual([defaults.raw, defaults.wides, defaults.level], [Uint8Array.of(0, 255), [], null]);
    assert.equal((await shop.exact(via, { wide: 1, digits: "1", level: null, wides: [] })).level, null);
    assert.equal(Object.is((await shop.exact(via, { wide: 1, digits: "1", ratio: -0 })).ratio, -0), true);
    await assert.rejects(async () => shop.exact(via, { wide: 2 ** 53, digits: "1" }), RangeError);

    const [every] = await shop.everyColumn(via);
    assert.deepEqual([every?.d, every?.e, every?.g, every?.s], [9223372036854775807n, NaN, "1.50", Uint8Array.of(0, 255)]);
    assert.deepEqual([every?.aa, every?.ac], [[1, null, 3], 4294967295]);
    assert.deepEqual(await shop.class_(via, { from: "a b+c&d=ü/?" }), { from: "a b+c&d=ü/?", class: "x" });

    const missing = await fails("not_found", 404, () => shop.user(via, { id: 99 }));
    assert.deepEqual([missing.message, missing.retryable], ["No row matches.", false]);
    assert.match(missing.requestId ?? "", /-/);
    await fails("bad_parameter", 400, () => shop.activeUsers(via, { limit: 501 }));
    assert.deepEqual(await shop.renameUser(via, { id: 2n, name: "Grace" }), { rowsAffected: 1 });
    const email = `${via.kind}@example.com`;
    const { id } = await shop.add(via, { name: "Lin", email });
    await fails("constraint", 409, () => shop.add(via, { name: "Lin", email }));
    const told = await fails("rejected", 422, () => shop.refused(via));
    assert.equal(told.message, "not today");
    assert.equal((await shop.user(via, { id })).email, email);
    await assert.rejects(shop.user(via, { id: 1 }, { signal: AbortSignal.abort(new Error("enough")) }), /enough|aborted/);

    // Once per key. A call without one has one of its own.
    const idempotencyKey = `key-${email}`;
    const paid = await shop.pay(via, { name: "Pay", email: `pay-${email}` }, { idempotencyKey });
    assert.deepEqual(await shop.pay(via, { name: "Pay", email: `pay-${email}` }, { idempotencyKey }), paid);
    await fails("idempotency_key_reused", 422, () => shop.pay(via, { name: "Pay", email }, { idempotencyKey }));
    await fails("constraint", 409, () => shop.pay(via, { name: "Pay", email: `pay-${email}` }));
    const order = `order-${email}`;
    assert.deepEqual(await shop.payFor(via, { order, email: order }), await shop.payFor(via, { order, email: order }));
    const twice = [steps.pay({ name: "a", email: `a-${email}` }), steps.pay({ name: "b", email: `b-${email}` })];
    const listed = await batch(via, twice, { idempotencyKey: `list-${email}` });
    assert.deepEqual(await batch(via, twice, { idempotencyKey: `list-${email}` }), listed);

    // Page by page: by hand, and all of them.
    const first = await shop.byName(via, { page_size: 1 });
    assert.equal(first.rows.length, 1);
    const second = await shop.byName(via, { page_size: 1, page: first.next });
    const ids: bigint[] = [];
    for await (const row of shop.byNameRows(via)) ids.push(row.id);
    assert.deepEqual(ids.slice(0, 2), [first.rows[0]?.id, second.rows[0]?.id]);
    assert.ok(ids.length > 3 && new Set(ids).size === ids.length, "several pages, each row once");
    for await (const row of shop.byNameRows(via, { from_id: 999999n })) assert.fail(String(row.id));
    await fails("bad_parameter", 400, () => shop.byName(via, { page: "x" }));

    // Several at once, each with the type of its own result.
    const [added, renamed, user] = await transaction(via, [
        steps.add({ name: "Mo", email: `mo-${email}` }),
        steps.renameUser({ id, name: "Lin Chen" }),
        steps.found({ id }),
    ]);
    const wide: bigint = added.id;
    assert.ok(wide > id);
    assert.deepEqual([renamed.rowsAffected, user.name], [1, "Lin Chen"]);
    const changed = await batch(via, [steps.renameUser({ id, name: "Lin" }), steps.renameUser({ id: 999, name: "x" })]);
    assert.deepEqual(changed.map(({ rowsAffected }) => rowsAffected), [1, 0]);
    const third = await fails("not_found", 404, () => transaction(via, [steps.renameUser({ id, name: "x" }), steps.found({ id: 999 })]));
    assert.equal(third.step, 1);
    assert.equal((await shop.user(via, { id })).name, "Lin");
}
assert.equal((await shop.privately(direct))[0]?.id, 1n);
assert.deepEqual(await shop.withAKey(web, { key: "k-1", times: 3 }), { key: "k-1", times: 3n });
const eager = new LambdaClient({ endpoint: url, region: "eu-central-1", credentials });
await assert.rejects(shop.user(invoke(eager, InvokeCommand, "shop"), { id: 1 }), /maxAttempts: 1/);

// A server that is busy, then is not; a gateway that says something of its own; nobody at all.
let asked = 0;
const keys: unknown[] = [];
const replies: [number, string, Record<string, string>?][] = [];
const server = createServer((request, response) => {
    asked += 1;
    keys.push(request.headers["idempotency-key"]);
    const [status, body, headers] = replies.shift() ?? [200, '{"id": 7}'];
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const standIn = http(`http://127.0.0.1:${(server.address() as AddressInfo).port}/prod/`);
const busy = '{"error": {"code": "database_busy", "message": "m", "retryable": true, "requestId": "r"}}';
async function counted(expected: number, call: () => Promise<unknown>): Promise<void> {
    asked = 0;
    await call();
    assert.equal(asked, expected);
}
replies.push([503, busy], [502, "Bad Gateway"]);
await counted(3, async () => assert.deepEqual(await shop.user(standIn, { id: 1 }), { id: 7n }));
replies.push([503, busy], [503, busy], [503, busy]);
await counted(3, () => fails("database_busy", 503, () => shop.user(standIn, { id: 1 })));
replies.push([503, busy]);
await counted(1, () => fails("database_busy", 503, () => shop.user(standIn, { id: 1 }, { attempts: 1 })));
replies.push([503, busy]);
await counted(1, () => fails("database_busy", 503, () => shop.add(standIn, { name: "a", email: "a" })));
replies.push([503, busy], [504, "Gateway Timeout"]);
keys.length = 0;
await counted(3, () => shop.pay(standIn, { name: "a", email: "a" }));
assert.equal(new Set(keys).size, 1, "one key for all attempts");
assert.match(String(keys[0]), /^[0-9a-f-]{36}$/);
replies.push([503, busy]);
await counted(2, () => shop.payFor(standIn, { order: "o", email: "a" }));
replies.push([503, busy]);
await counted(1, () => fails("database_busy", 503, () => shop.payFor(standIn, { email: "a" })));
replies.push([504, "Gateway Timeout"]);
await counted(1, async () => {
    const lost = await fails("no_reply", 504, () => shop.add(standIn, { name: "a", email: "a" }));
    assert.deepEqual([lost.retryable, /not known/.test(lost.message)], [false, true]);
});
replies.push([403, '{"message": "Forbidden"}']);
await counted(1, () => fails("no_reply", 403, () => shop.user(standIn, { id: 1 })));
replies.push([409, '{"error": {"code": "newer_than_us", "message": "m", "retryable": false, "requestId": "r"}}']);
await counted(1, () => fails("other", 409, () => shop.user(standIn, { id: 1 })));
replies.push([302, "", { location: url }]);
await counted(1, () => fails("no_reply", 0, () => shop.user(standIn, { id: 1 }, { attempts: 1 })));
for (const broken of ["", "{", '{"id": 1}}', '{"id" 1}', "[1 2]", '"', "01x", "nul"]) {
    replies.push([200, broken]);
    await counted(1, () => fails("no_reply", 200, () => shop.user(standIn, { id: 1 })));
}
// 64 bits as strings (LAMBDA_RDS_INT64=string) are the same to the caller.
replies.push([200, '[{"id": "9223372036854775807", "name": "\\u00e9\\"\\\\", "email": "\\\\"}]']);
assert.deepEqual(await shop.activeUsers(standIn), [{ id: 9223372036854775807n, name: 'é"\\', email: "\\" }]);
server.close();
await fails("no_reply", 0, () => shop.user(standIn, { id: 1 }, { attempts: 2 }));

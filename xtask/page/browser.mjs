// What somebody does who opens the page of `lambda-rds serve`: `node browser.mjs URL CHROMIUM SCREENSHOT`.

import assert from "node:assert/strict";

import { chromium } from "playwright-core";

const [url, executablePath, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"],
});
const page = await browser.newPage({ viewport: { width: 1180, height: 640 }, colorScheme: "light" });
page.setDefaultTimeout(10_000);
const asked = [];
const complaints = [];
page.on("request", (request) => asked.push(request.url()));
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));

// Programs get what they always got.
const plain = await fetch(url);
assert.equal(plain.headers.get("content-type")?.startsWith("text/html"), false);
const html = await fetch(url, { headers: { accept: "text/html" } });
assert.match(html.headers.get("content-security-policy") ?? "", /default-src 'none'/);

await page.goto(url);
assert.equal(await page.title(), "lambda-rds");
const reply = page.locator("#reply");
const status = reply.locator("h3");
const open = async (path) => {
    await page.evaluate((path) => { location.hash = path; }, path);
    await page.locator("main h2", { hasText: new RegExp(`^${path.slice(1) || "/"}$`) }).waitFor();
};
const run = async (path, fields = {}) => {
    await open(path);
    for (const [name, value] of Object.entries(fields)) {
        const field = page.getByLabel(new RegExp(`^${name}( \\*)?$`));
        if ((await field.evaluate((element) => element.tagName)) === "SELECT") await field.selectOption({ label: value });
        else await field.fill(value);
    }
    await page.evaluate(() => document.getElementById("reply").replaceChildren());
    await page.getByRole("button", { name: "Run" }).click();
    await status.waitFor();
    return (await status.innerText()).slice(0, 3);
};
const cells = async () => reply.locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText)));

// The keyboard alone: to the query, into its form, and to its rows.
const focused = () => page.evaluate(() => document.activeElement?.getAttribute("href") ?? document.activeElement?.id ?? "");
const tabTo = async (wanted) => {
    for (let press = 0; press < 60; press++) {
        if ((await focused()) === wanted) return;
        await page.keyboard.press("Tab");
    }
    assert.fail(`no Tab leads to ${wanted}`);
};
await tabTo("#/active_users");
await page.keyboard.press("Enter");
await tabTo("field-query-limit");
await page.keyboard.press("Control+a");
await page.keyboard.type("2");
await page.keyboard.press("Enter");
await status.waitFor();
assert.deepEqual(await cells(), [["1", "Ada", "ada@example.com"], ["2", "Grace", "grace@example.com"]]);
assert.match(await page.locator("#time").innerText(), /^\d+\.\d ms .*database \d+\.\d ms/);
await page.keyboard.press("Enter");
await page.locator("#time", { hasNotText: "connecting" }).waitFor();
assert.match(await page.locator("#time").innerText(), / · 1 round trip$/, "a warm read");
await page.screenshot({ path: screenshot });

// Every sample query.
assert.equal(await run("/active_users", { active: "false" }), "200");
assert.match(await reply.innerText(), /No rows/);
assert.equal(await run("/user", { id: "1" }), "200");
assert.deepEqual((await cells())[0].slice(0, 2), ["1", "Ada"]);
const markup = '<img src="/x" onerror="document.title = 1">';
assert.equal(await run("/add_user", { name: markup, email: "lin@example.com" }), "200");
assert.deepEqual(await cells(), [["1"]]);
assert.equal(await run("/rename_user", { id: "2", name: "Grace" }), "200");
assert.equal(await run("/rename_user", { id: "2", name: "Grace H." }), "200");
assert.match(await page.locator("#time").innerText(), / · 2 round trips$/, "a write, not its first use");
assert.equal(await run("/active_users", { limit: "" }), "200");
assert.equal((await cells())[1][1], "Grace H.");
assert.equal((await cells())[2][1], markup, "text, never markup");
assert.equal(await page.title(), "lambda-rds");

// An error with its cure, and the reply as a gateway sends it.
assert.equal(await run("/user", { id: "99" }), "404");
assert.match(await reply.getByRole("alert").innerText(), /not_found\s+No row matches/);
assert.equal(await run("/user", { id: "x" }), "400");
assert.match(await reply.getByRole("alert").innerText(), /Parameter `id` must be an integer/);
await reply.locator("summary").press("Enter");
assert.match(await reply.locator("pre").innerText(), /^HTTP\/1\.1 400 Bad Request\n[^]*content-type: application\/json\n[^]*"code":"bad_parameter"/);

// Digit for digit, with every kind of field; by both methods.
const wide = "9223372036854775807";
const digits = "123456789012345678901234567890.123456789012345678901234567890";
for (const method of ["GET", "POST"]) {
    const given = { method, wide, digits, doc: `{"big": ${wide}}`, wides: `${wide}\n-1`, state: '"closed"'.slice(1, -1), marks: "a\nb" };
    assert.equal(await run("/exact", given), "200", await reply.innerText());
    assert.deepEqual((await cells())[0], [
        wide, digits, "1.5", `{"big": ${wide}}`, "AP8=", `[${wide}, -1]`, "closed", "null", '["a", "b"]', "null",
    ]);
}
await page.getByLabel("null").last().check();
await page.getByRole("button", { name: "Run" }).press("Enter");
await status.waitFor();

// Page by page.
assert.equal(await run("/by_name", { page_size: "2" }), "200");
const before = await cells();
assert.equal(before.length, 2);
await page.getByRole("button", { name: "Next page" }).press("Enter");
await page.waitForFunction((before) => {
    const cell = document.querySelector("#reply tbody td");
    return cell !== null && cell.innerText !== before;
}, before[0][0]);
assert.equal((await cells()).some(([id]) => before.some(([other]) => other === id)), false);

// Who one pretends to be.
const sub = "01234567-89ab-cdef-0123-456789abcdef";
assert.equal(await page.getByLabel(/Claims/).inputValue(), `groups=["staff"]\nsub=${sub}`, "as the command line says");
assert.equal(await run("/mine"), "200");
assert.deepEqual(await cells(), [[sub]]);
assert.equal(await run("/groups"), "200");
assert.deepEqual(await cells(), [["staff", "array"]], "a claim that nobody changed is what it was");
await page.getByLabel(/Claims/).fill("");
assert.equal(await run("/mine"), "401");
assert.match(await reply.getByRole("alert").innerText(), /unauthenticated/);

// Every field has a label, and the colours follow the reader's.
for (const path of await page.locator("nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href").slice(1)))) {
    await open(path);
    const bare = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea")].filter((field) => field.labels.length === 0).length);
    assert.equal(bare, 0, path);
}
const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const light = await paper();
await page.emulateMedia({ colorScheme: "dark" });
assert.notEqual(await paper(), light);

// Nothing was loaded from elsewhere, nor could be.
assert.deepEqual(asked.filter((one) => !one.startsWith(url) && !one.startsWith("data:")), []);
assert.deepEqual(complaints.filter((one) => !/status of 40[014]/.test(one)), []);
const refused = await page.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
    await fetch("https://example.com/").catch(() => {});
    const script = document.createElement("script");
    script.textContent = "document.title = 'run'";
    document.body.append(script);
    const image = document.createElement("img");
    image.src = "https://example.com/x.png";
    document.body.append(image);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { violations, title: document.title };
});
assert.deepEqual([...new Set(refused.violations)].sort(), ["connect-src", "img-src", "script-src-elem"]);
assert.equal(refused.title, "lambda-rds");
await browser.close();

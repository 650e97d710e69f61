// The official TypeScript clients, one module for each generation, of which the second speaks the version without a
// handshake: client.mjs (sdk | client) CALLS (URL | COMMAND ARG…)
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const [generation, file, ...where] = process.argv.slice(2);
const names = {
    sdk: ['@modelcontextprotocol/sdk/client/index.js', '@modelcontextprotocol/sdk/client/streamableHttp.js',
        '@modelcontextprotocol/sdk/client/stdio.js'],
    client: ['@modelcontextprotocol/client', '@modelcontextprotocol/client', '@modelcontextprotocol/client/stdio'],
}[generation];
const [{ Client }, { StreamableHTTPClientTransport }, { StdioClientTransport }] =
    await Promise.all(names.map(name => import(name)));
const [target, ...args] = where;
const transport = target.startsWith('http')
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, args, env: process.env });

const options = generation === 'client' ? { versionNegotiation: { mode: { pin: '2026-07-28' } } } : {};
const client = new Client({ name: 'agents', version: '1' }, options);
await client.connect(transport);
assert.equal(client.getServerVersion().name, 'lambda-rds');
const { tools } = await client.listTools();
assert.deepEqual(tools.map(tool => tool.name), ['every', 'mine', 'none', 'numbers', 'odd', 'touch']);
assert(tools.every(tool => tool.outputSchema));
for (const call of JSON.parse(readFileSync(file, 'utf8'))) {
    // The client itself holds each result to the tool's outputSchema.
    const result = await client.callTool({ name: call.tool, arguments: call.arguments });
    const text = JSON.parse(result.content[0].text);
    if (call.error) {
        assert.equal(result.isError, true, JSON.stringify(result));
        assert.equal(text.error.code, call.error);
    } else {
        assert(!result.isError, JSON.stringify(result));
        assert.deepEqual(result.structuredContent, call.result);
        assert.deepEqual(text, call.result);
    }
}
await client.close();

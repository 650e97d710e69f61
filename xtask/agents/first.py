"""The official Python client, its first generation: versions with a handshake. Usage: first.py CALLS (URL | COMMAND ARG…)"""

import asyncio
import json
import sys

import jsonschema
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


async def talk(read, write, calls):
    async with ClientSession(read, write) as session:
        begun = await session.initialize()
        assert begun.protocolVersion == "2025-11-25", begun
        await session.send_ping()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert sorted(tools) == ["every", "mine", "none", "numbers", "odd", "touch"], tools
        for tool in tools.values():
            assert tool.title and tool.description and tool.outputSchema, tool
            for schema in (tool.inputSchema, tool.outputSchema):
                jsonschema.Draft202012Validator.check_schema(schema)
            assert tool.annotations.readOnlyHint == (tool.name != "touch"), tool
        for call in calls:
            result = await session.call_tool(call["tool"], call["arguments"])
            text = json.loads(result.content[0].text)
            if "error" in call:
                assert result.isError and text["error"]["code"] == call["error"], (call, result)
                continue
            assert not result.isError and result.structuredContent == call["result"] == text, (call, result)
            tool = tools[call["tool"]]
            jsonschema.validate(call["arguments"], tool.inputSchema)
            checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
            jsonschema.Draft202012Validator(tool.outputSchema, format_checker=checker).validate(text)


async def main():
    calls = json.load(open(sys.argv[1]))
    if sys.argv[2].startswith("http"):
        async with streamablehttp_client(sys.argv[2]) as (read, write, _):
            await talk(read, write, calls)
    else:
        command = StdioServerParameters(command=sys.argv[2], args=sys.argv[3:])
        async with stdio_client(command) as (read, write):
            await talk(read, write, calls)


asyncio.run(main())

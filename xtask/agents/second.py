"""The official Python client, its second generation: without a handshake. Usage: second.py CALLS (URL | COMMAND ARG…)"""

import asyncio
import json
import sys

from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client


async def main():
    calls = json.load(open(sys.argv[1]))
    target = sys.argv[2]
    if not target.startswith("http"):
        target = stdio_client(StdioServerParameters(command=sys.argv[2], args=sys.argv[3:]))
    async with Client(target) as client:
        assert client.protocol_version == "2026-07-28", client.protocol_version
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == ["every", "mine", "none", "numbers", "odd", "touch"], tools
        for call in calls:
            result = await client.call_tool(call["tool"], call["arguments"])
            text = json.loads(result.content[0].text)
            if "error" in call:
                assert result.is_error and text["error"]["code"] == call["error"], (call, result)
            else:
                assert not result.is_error and result.structured_content == call["result"] == text, (call, result)


asyncio.run(main())

"""The loop of the Lambda runtime, as small as it can be: the real one (awslambdaric) does more, so it is slower."""

import http.client
import json
import os

from handler import handler


def main():
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def ask(method, path, body=None):
        api.request(method, f"/2018-06-01/runtime/invocation/{path}", body)
        answer = api.getresponse()
        return answer.headers, answer.read()

    while True:
        headers, event = ask("GET", "next")
        request = headers["lambda-runtime-aws-request-id"]
        try:
            ask("POST", f"{request}/response", json.dumps(handler(json.loads(event))).encode())
        except Exception as error:
            raised = {"errorType": type(error).__name__, "errorMessage": str(error)}
            ask("POST", f"{request}/error", json.dumps(raised).encode())


main()

// The loop of the Lambda runtime, as small as it can be: the real one (aws-lambda-ric) does more, so it is slower.
import http from "node:http";
import { environment } from "./handler.mjs";

// Several addresses are several environments of a simulated fleet in one process.
const addresses = (process.env.BENCH_ADDRESSES ?? process.env.AWS_LAMBDA_RUNTIME_API).split(",");
await Promise.all(addresses.map(serve));

async function serve(address) {
  const [host, port] = address.split(":");
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (method, path, body) =>
    new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
      const request = http.request({ host, port, method, path, agent, headers }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }));
      });
      request.on("error", reject);
      request.end(body);
    });
  const handler = environment();
  for (;;) {
    const { headers, body } = await ask("GET", "/2018-06-01/runtime/invocation/next");
    const id = headers["lambda-runtime-aws-request-id"];
    try {
      const reply = JSON.stringify(await handler(JSON.parse(body)));
      await ask("POST", `/2018-06-01/runtime/invocation/${id}/response`, reply);
    } catch (error) {
      const raised = JSON.stringify({ errorType: error.code ?? error.name, errorMessage: error.message });
      await ask("POST", `/2018-06-01/runtime/invocation/${id}/error`, raised);
    }
  }
}

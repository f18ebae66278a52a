// A small platform of others: each POST makes three calls to the REST layer named on the command line, one after
// another, and passes on the trace that it was given. It ends with its standard input.
const http = require("http");

const rest = new URL(process.argv[2]);
const agent = new http.Agent({ keepAlive: true });

const call = (method, path, traceparent) =>
  new Promise((resolve, reject) => {
    const headers = traceparent ? { traceparent } : {};
    const request = http.request({ host: rest.hostname, port: rest.port, method, path, agent, headers }, (answer) => {
      answer.resume();
      answer.on("end", resolve);
    });
    request.on("error", reject);
    request.end();
  });

const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", async () => {
    const traceparent = process.argv[3] === "forward" ? request.headers.traceparent : undefined;
    await call("GET", "/rest/v1/restaurants?slug=eq.white-horse", traceparent);
    await call("GET", "/rest/v1/bookings?email=eq.jo.bloggs%40example.com", traceparent);
    await call("POST", "/rest/v1/rpc/create_booking", traceparent);
    response.writeHead(201).end("{}");
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));

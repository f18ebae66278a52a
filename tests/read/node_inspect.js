// Prints with the real util.inspect: a line {expression, options} in, a line of JSON with its text out.
const util = require("node:util");
const readline = require("node:readline");
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { expression, options } = JSON.parse(line);
  process.stdout.write(JSON.stringify(util.inspect(eval(`(${expression})`), options)) + "\n");
});

// What users of OpenAI's SDK for JavaScript do; asked and told as in scenarios.py.
"use strict";
const { OpenAI } = require("openai");

const SECOND = "And then?";
const KEY = { type: "object", properties: { key: { type: "string" } }, required: ["key"] };
const TOOL = { type: "function", name: "lookup", description: "Look up.", parameters: KEY };
const asked = JSON.parse(process.argv[2]);

// Where no tool is called, Julep's output is a string, and the SDK's output_text is empty.
const said = ({ output, output_text }) => (typeof output === "string" ? output : output_text);

class Client {
  constructor(url, key, model, lookup) {
    this.responses = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 }).responses;
    this.model = model;
    this.lookup = lookup;
  }

  create(input, more = {}) {
    return this.responses.create({ model: this.model, input, ...more });
  }

  called(response) {
    const calls = [...response.output].filter((item) => item.type === "function_call");
    return calls.map((call) => ({
      type: "function_call_output",
      call_id: call.call_id,
      output: this.lookup(JSON.parse(call.arguments).key),
    }));
  }

  async *whole(text) {
    yield said(await this.create(text));
  }

  async *stream(text) {
    let said = "";
    const stream = this.responses.stream({ model: this.model, input: text });
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") {
        said += event.delta;
        yield event.delta;
      }
    }
    const final = (await stream.finalResponse()).output_text;
    if (final !== said) throw new Error(`said ${said}, in the end ${final}`);
  }

  async *tools(text) {
    const input = [{ role: "user", content: text }];
    let response = await this.create(input, { tools: [TOOL] });
    for (let results = this.called(response); results.length; results = this.called(response)) {
      input.push(...response.output, ...results);
      response = await this.create(input, { tools: [TOOL] });
    }
    yield said(response);
  }

  async *stream_tools(text) {
    const input = [{ role: "user", content: text }];
    for (;;) {
      let response;
      for await (const event of await this.create(input, { tools: [TOOL], stream: true })) {
        if (event.type === "response.output_text.delta") yield event.delta;
        if (event.type === "response.completed") response = event.response;
      }
      const results = this.called(response);
      if (!results.length) return;
      input.push(...response.output, ...results);
    }
  }

  async *history(text) {
    const first = { role: "user", content: text };
    const response = await this.create([first]);
    yield (await this.create([first, ...response.output, { role: "user", content: SECOND }])).output_text;
  }

  async *previous(text) {
    const { id } = await this.create(text);
    yield (await this.create(SECOND, { previous_response_id: id })).output_text;
  }

  async *conversation(text) {
    const conversation = `${this.model}-js`;
    await this.create(text, { conversation });
    yield (await this.create(SECOND, { conversation })).output_text;
  }
}

const keys = [];
const lookup = (key) => {
  keys.push(key);
  return asked.result;
};
const clients = new Map();

function connect(url, key, model) {
  const name = JSON.stringify([url, key, model]);
  if (!clients.has(name)) clients.set(name, new Client(url, key, model, lookup));
  return clients.get(name);
}

async function seen([url, key, model, method, text]) {
  keys.length = 0;
  let said = "";
  let error = null;
  try {
    for await (const piece of connect(url, key, model)[method](text)) said += piece;
  } catch (raised) {
    error = [raised.constructor.name, raised.code ?? null, raised.message];
  }
  return { text: said, keys: [...keys], error };
}

async function main() {
  const told = [];
  for (const run of asked.runs) told.push(await seen(run));
  console.log(JSON.stringify(told));
}

main();

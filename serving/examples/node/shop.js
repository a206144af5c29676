// Asks a Cartwheel server from Node: `npm install`, then for example
//
//     node shop.js 127.0.0.1:8001 recommend '{"user": "u01206", "recentItems": ["i01857"], "k": 3}'
//     node shop.js 127.0.0.1:8001 cart '{"user": "u01206", "cartItems": ["i01857", "i00221"]}'
//     node shop.js 127.0.0.1:8001 similarItems '{"item": "i01857"}'
//
// PROTO names the file inference.proto where it does not lie in ../../protocol.
import { pathToFileURL, fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const PROTO = process.env.PROTO ?? fileURLToPath(new URL("../../contract/inference.proto", import.meta.url));
const REASONS = ["popular", "recent item", "taste"];
const DEADLINE_MILLISECONDS = 5000;
const EMPTY = -Infinity; // the score of a place that no item is left for

export class Shop {
  #stub;

  // address: host:port of the server's gRPC; credentials: grpc.credentials.createSsl(...) where it speaks TLS.
  constructor(address, credentials = grpc.credentials.createInsecure()) {
    const definition = loader.loadSync(PROTO, { keepCase: true, longs: Number });
    const { inference } = grpc.loadPackageDefinition(definition);
    this.#stub = new inference.GRPCInferenceService(address, credentials);
  }

  // The items that suit a shopper best; user is null for a stranger, at a Date or null for now.
  async recommend({ user = null, recentItems = [], exclude = [], k = 10, at = null } = {}) {
    const answer = await this.#infer("recommend", [
      texts("user_id", [[user ?? ""]]),
      ...optional("recent_items", recentItems),
      ...optional("exclude", exclude),
      timestamp(at),
      number("k", k),
    ]);
    return answer.items
      .map((item, place) => ({
        item,
        score: answer.scores[place],
        reason: REASONS[answer.reason[place]],
        becauseOf: answer.reason_item[place] || null,
      }))
      .filter((line) => line.score !== EMPTY);
  }

  // The chance, 0 to 1, that each line of a cart and the cart itself is bought, and what completes it.
  async cart({ cartItems = [], user = null, recentItems = [], k = 10, at = null } = {}) {
    const answer = await this.#infer("cart", [
      texts("cart_items", [cartItems.length ? cartItems : [""]]),
      texts("user_id", [[user ?? ""]]),
      ...optional("recent_items", recentItems),
      timestamp(at),
      number("k", k),
    ]);
    return {
      probability: answer.cart_probability?.[0] ?? null,
      lines: cartItems.map((item, place) => ({ item, probability: answer.line_probability?.[place] ?? null })),
      completions: scored(answer),
    };
  }

  // The nearest items of an item.
  async similarItems({ item, k = 10 }) {
    return scored(await this.#infer("similar_items", [texts("item_id", [[item]]), number("k", k)]));
  }

  close() {
    this.#stub.close();
  }

  #infer(model_name, inputs) {
    const deadline = new Date(Date.now() + DEADLINE_MILLISECONDS);
    return new Promise((resolve, reject) => {
      this.#stub.ModelInfer({ model_name, inputs }, { deadline }, (error, response) => (error ? reject(error) : resolve(outputs(response))));
    });
  }
}

function texts(name, rows) {
  const bytes_contents = rows.flat().map((text) => Buffer.from(String(text)));
  return { name, datatype: "BYTES", shape: [rows.length, rows[0].length], contents: { bytes_contents } };
}

function optional(name, items) {
  return items.length ? [texts(name, [items])] : [];
}

function number(name, value) {
  return { name, datatype: "INT32", shape: [1], contents: { int_contents: [value] } };
}

function timestamp(at) {
  const microseconds = (at ?? new Date()).getTime() * 1000;
  return { name: "timestamp", datatype: "INT64", shape: [1, 1], contents: { int64_contents: [microseconds] } };
}

function scored(answer) {
  return answer.items.map((item, place) => ({ item, score: answer.scores[place] })).filter((line) => line.score !== EMPTY);
}

// The values of each output by its name, of one row.
function outputs(response) {
  const read = { BYTES: strings, FP32: (raw) => numbers(raw, "readFloatLE"), INT32: (raw) => numbers(raw, "readInt32LE") };
  return Object.fromEntries(
    response.outputs.map(({ name, datatype }, place) => [name, read[datatype](response.raw_output_contents[place])]),
  );
}

function numbers(raw, method) {
  return Array.from({ length: raw.length / 4 }, (_, place) => raw[method](4 * place));
}

function strings(raw) {
  const found = [];
  for (let place = 0; place < raw.length; ) {
    const length = raw.readUInt32LE(place);
    found.push(raw.toString("utf8", place + 4, place + 4 + length));
    place += 4 + length;
  }
  return found;
}

async function main([address, question, given = "{}"]) {
  if (!address || !["recommend", "cart", "similarItems"].includes(question)) {
    console.error("Usage: node shop.js HOST:PORT recommend|cart|similarItems '{...}'");
    return 2;
  }
  const shop = new Shop(address);
  try {
    const { at, ...rest } = JSON.parse(given);
    console.log(JSON.stringify(await shop[question]({ ...rest, at: at ? new Date(at) : null })));
    return 0;
  } catch (error) {
    console.error(error.code === undefined ? String(error) : `${grpc.status[error.code] ?? error.code}: ${error.details ?? error.message}`);
    return 1;
  } finally {
    shop.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main(process.argv.slice(2));
}

// A Proxy-Wasm host for tests: enough of Envoy to configure holdfast.wasm, answer its calls, and count every call that it
// makes. No network, no clock but `now`, nothing asynchronous.

import { readFileSync } from "node:fs";

const OK = 0, NOT_FOUND = 1, EMPTY = 7, CAS_MISMATCH = 8;
const ROOT = 1;

export class Host {
  constructor(path, config) {
    this.calls = {};
    /** Keys in the order of their writes, while it is wanted. */
    this.writes = undefined;
    /** Of which keys the writes are lost to others. */
    this.loses = () => false;
    /** Resumes and replies of the last callback, and of the one with the most. */
    this.done = 0;
    this.most = 0;
    this.config = Buffer.from(JSON.stringify(config));
    this.now = 1_000_000_000n;
    this.shared = new Map();
    /** Of all VMs: name, messages, and the VM that has it. */
    this.queues = [];
    this.properties = { plugin_vm_id: "vm", "xds\0node\0id": "node-1" };
    this.headers = {};
    this.body = Buffer.alloc(0);
    this.sent = [];
    this.added = [];
    this.replies = [];
    this.log = [];
    this.stats = {};
    this.steps = 0;
    this.sharedBytes = 0;
    this.tickPeriod = 0;
    /** When the next tick is due. */
    this.due = this.now;
    this.module = new WebAssembly.Module(readFileSync(path));
    this.instance = new WebAssembly.Instance(this.module, this.#imports());
    this.exports = this.instance.exports;
    this.exports._initialize();
    this.exports.proxy_on_context_create(ROOT, 0);
    if (!this.exports.proxy_on_configure(ROOT, this.config.length)) throw new Error(`refused: ${this.log}`);
  }

  /** Lets time pass and ticks, until `until` says that it is enough. */
  tickUntil(until, what) {
    for (let n = 0; n < 100; n++) {
      if (until()) return;
      this.now += 100_000_000n;
      this.done = 0;
      this.exports.proxy_on_tick(ROOT);
    }
    throw new Error(`not within 100 ticks: ${what}; log: ${this.log.join("; ")}`);
  }

  tick() {
    this.#tickLater();
    this.exports.proxy_on_tick(ROOT);
  }

  /** The one key of shared data that is meant. */
  key(isMeant) {
    const found = [...this.shared.keys()].filter(isMeant);
    if (found.length !== 1) throw new Error(`one key is meant, not ${found.length}: ${found}`);
    return found[0];
  }

  /** Rings and is rung by another VM of the same Envoy, and shares data with it. */
  shareWith(other) {
    this.shared = other.shared;
    this.queues = other.queues;
  }

  #carriedOut() {
    this.done += 1;
    this.most = Math.max(this.most, this.done);
  }

  #tickLater() {
    this.due = this.now + BigInt(this.tickPeriod) * 1_000_000n;
  }

  /** Answers a call that the module has sent, as an upstream would. */
  answer(call, status, body) {
    this.headers = { ":status": String(status), "x-envoy-upstream-service-time": "1" };
    this.body = Buffer.from(body);
    this.exports.proxy_on_http_call_response(ROOT, call.token, 2, this.body.length, 0);
    this.headers = {};
  }

  /** One request from its first callback to its last; gives what the module did meanwhile. */
  request(id, { cluster, headers = {} }) {
    const before = this.#snapshot();
    const action = this.begin(id, { cluster, headers });
    this.exports.proxy_on_response_headers?.(id, 2, 0);
    this.exports.proxy_on_done?.(id);
    this.exports.proxy_on_log?.(id);
    this.exports.proxy_on_delete(id);
    return { action, ...this.#since(before) };
  }

  /** The first callback of a request; gives what the filter wants. */
  begin(id, { cluster, headers = {} }) {
    this.properties["xds\0cluster_name"] = cluster;
    this.headers = headers;
    this.exports.proxy_on_context_create(id, ROOT);
    const action = this.exports.proxy_on_request_headers(id, 4, 1);
    this.headers = {};
    return action;
  }

  /** True once the VM has taken the lease. */
  isRelay() {
    return this.log.some((line) => line.includes("relay of this Envoy"));
  }

  /** True once the VM has had the lease and has it no more. */
  gaveUp() {
    return this.log.some((line) => line.includes("no longer the relay"));
  }

  /** Answers every report that has been sent, as a control plane would that takes it. */
  answerReports() {
    for (const call of this.sent.filter((call) => isReport(call) && !call.answered)) {
      call.answered = true;
      this.answer(call, 204, "");
    }
  }

  /** Answers the open poll with these targets as changed, until the gate has taken them; gives what the module did meanwhile. */
  change(n, targets) {
    const open = () => this.sent.findLast(isSync);
    const polled = open();
    const before = this.#snapshot();
    this.answer(polled, 200, JSON.stringify(answer(n, false, targets)));
    this.tickUntil(() => open() !== polled, "the next poll");
    return this.#since(before);
  }

  #snapshot() {
    return {
      calls: { ...this.calls },
      steps: this.steps,
      sharedBytes: this.sharedBytes,
      memory: this.exports.memory.buffer.byteLength,
    };
  }

  #since(before) {
    const calls = {};
    for (const [name, n] of Object.entries(this.calls)) {
      if (n !== (before.calls[name] ?? 0)) calls[name] = n - (before.calls[name] ?? 0);
    }
    return {
      calls,
      steps: this.steps - before.steps,
      sharedBytes: this.sharedBytes - before.sharedBytes,
      grown: this.exports.memory.buffer.byteLength - before.memory,
    };
  }

  #bytes(at, length) {
    return Buffer.from(this.exports.memory.buffer, at >>> 0, length >>> 0);
  }
  #text(at, length) {
    return this.#bytes(at, length).toString("latin1");
  }
  #u32(at, value) {
    new DataView(this.exports.memory.buffer).setUint32(at >>> 0, value >>> 0, true);
  }
  #u64(at, value) {
    new DataView(this.exports.memory.buffer).setBigUint64(at >>> 0, value, true);
  }
  /** Hands bytes over in memory that the module gives. */
  #give(bytes, at, length) {
    const to = bytes.length === 0 ? 0 : this.exports.proxy_on_memory_allocate(bytes.length);
    this.#bytes(to, bytes.length).set(bytes);
    this.#u32(at, to);
    this.#u32(length, bytes.length);
    return OK;
  }

  #imports() {
    const env = {
      proxy_log: (level, at, length) => { this.log.push(this.#text(at, length)); return OK; },
      proxy_get_log_level: (at) => { this.#u32(at, 2); return OK; },
      proxy_set_tick_period_milliseconds: (period) => {
        this.tickPeriod = period;
        this.#tickLater();
        return OK;
      },
      proxy_get_buffer_bytes: (kind, start, max, at, length) =>
        this.#give(kind === 7 ? this.config : this.body, at, length),
      proxy_get_property: (at, length, out, outLength) => {
        const value = this.properties[this.#text(at, length)];
        return value === undefined ? NOT_FOUND : this.#give(Buffer.from(value), out, outLength);
      },
      proxy_get_header_map_value: (map, at, length, out, outLength) => {
        const value = this.headers[this.#text(at, length)];
        return value === undefined ? NOT_FOUND : this.#give(Buffer.from(value), out, outLength);
      },
      proxy_add_header_map_value: (map, key, keyLength, at, length) => {
        this.added.push([this.#text(key, keyLength), this.#text(at, length)]);
        return OK;
      },
      proxy_get_shared_data: (key, keyLength, out, outLength, cas) => {
        const entry = this.shared.get(this.#text(key, keyLength));
        if (!entry) return NOT_FOUND;
        this.#u32(cas, entry.cas);
        this.sharedBytes += entry.value.length;
        return this.#give(entry.value, out, outLength);
      },
      proxy_set_shared_data: (key, keyLength, at, length, cas) => {
        const name = this.#text(key, keyLength);
        const entry = this.shared.get(name);
        if (entry && cas !== 0 && entry.cas !== cas >>> 0) return CAS_MISMATCH;
        if (this.loses(name)) return CAS_MISMATCH;
        this.writes?.push(name);
        this.sharedBytes += length;
        this.shared.set(name, { value: Buffer.from(this.#bytes(at, length)), cas: (entry?.cas ?? 0) + 1 });
        return OK;
      },
      proxy_register_shared_queue: (at, length, out) => {
        this.#u32(out, this.queues.push({ name: this.#text(at, length), messages: [], owner: this }));
        return OK;
      },
      proxy_resolve_shared_queue: (vm, vmLength, at, length, out) => {
        const name = this.#text(at, length);
        const found = this.queues.findLastIndex((queue) => queue.name === name);
        if (found < 0) return NOT_FOUND;
        this.#u32(out, found + 1);
        return OK;
      },
      proxy_enqueue_shared_queue: (queue, at, length) => {
        this.queues[queue - 1].messages.push(Buffer.from(this.#bytes(at, length)));
        return OK;
      },
      proxy_dequeue_shared_queue: (queue, out, outLength) => {
        const message = this.queues[queue - 1].messages.shift();
        return message === undefined ? EMPTY : this.#give(message, out, outLength);
      },
      proxy_define_metric: (kind, at, length, out) => {
        const id = Object.keys(this.stats).length + 1;
        this.stats[id] = this.#text(at, length);
        this.#u32(out, id);
        return OK;
      },
      proxy_http_call: (cluster, clusterLength, headers, headersLength, body, bodyLength, t, tLength, timeout, out) => {
        const call = {
          token: this.sent.length + 1,
          cluster: this.#text(cluster, clusterLength),
          headers: this.#text(headers, headersLength),
          body: this.#text(body, bodyLength),
        };
        this.sent.push(call);
        this.#u32(out, call.token);
        return OK;
      },
      proxy_send_local_response: (status) => {
        this.replies.push(status);
        this.#carriedOut();
        return OK;
      },
      proxy_continue_stream: () => {
        this.#carriedOut();
        return OK;
      },
    };
    const wasi = {
      random_get: (at, length) => { this.#bytes(at, length).fill(7); return 0; },
      clock_time_get: (clock, precision, out) => { this.#u64(out, this.now); return 0; },
      environ_sizes_get: (count, size) => { this.#u32(count, 0); this.#u32(size, 0); return 0; },
      environ_get: () => 0,
    };
    const counted = (functions) =>
      new Proxy(functions, {
        get: (all, name) => (...args) => {
          this.calls[name] = (this.calls[name] ?? 0) + 1;
          return (all[name] ?? (() => OK))(...args);
        },
      });
    const sources = { env: counted(env), wasi_snapshot_preview1: counted(wasi) };
    const imports = { env: {}, wasi_snapshot_preview1: {} };
    for (const { module, name } of WebAssembly.Module.imports(this.module)) {
      imports[module][name] = sources[module][name];
    }
    // What wasm-opt's --log-execution calls at the beginning of every function and loop: no call of the filter's.
    imports.env.log_execution = () => { this.steps += 1; };
    return imports;
  }
}

/** Lets time pass in several VMs of one Envoy, at most so many seconds, until `until` says that it is enough: each ticks so often as
 * it wants to, and hears when it is rung. Gives the number of ticks of each. */
export function runTogether(hosts, seconds, until = () => false) {
  const end = hosts[0].now + BigInt(Math.round(seconds * 1e9));
  const ticks = hosts.map(() => 0);
  while (!until()) {
    for (const [n, { owner, messages }] of hosts[0].queues.entries()) {
      if (messages.length > 0 && hosts.includes(owner)) owner.exports.proxy_on_queue_ready(ROOT, n + 1);
    }
    const next = hosts.reduce((first, host) => (host.due < first.due ? host : first));
    const at = next.due < end ? next.due : end;
    for (const host of hosts) host.now = at > host.now ? at : host.now;
    if (at === end) break;
    next.tick();
    next.answerReports();
    ticks[hosts.indexOf(next)] += 1;
  }
  return ticks;
}

const isReport = (call) => call.headers.includes("/v1/report");

const isSync = (call) => call.headers.includes("/v1/sync");

/** A host whose module knows this many targets, ready since the first snapshot, found by cluster or by host. */
export function warm(path, targets, { by = "cluster", state = "ready", ignore, loss } = {}) {
  const host = new Host(path, { control_plane: { cluster: "holdfast" } });
  host.tickUntil(() => host.sent.some(isSync), "the first sync");
  tellAll(host, targets, { by, state, ignore, loss });
  return host;
}

/** Answers the first poll with so many targets. */
function tellAll(host, targets, { heartbeat_ms, ...each }) {
  const all = Array.from({ length: targets }, (_, n) => target(n, each));
  host.answer(host.sent.find(isSync), 200, JSON.stringify(answer(1, true, all, heartbeat_ms)));
}

/** Two VMs of one Envoy, of which one has the relay, with targets as `warm` has them. */
export function twoVms(path, targets, { state = "ready" } = {}) {
  const of = (service) => new Host(path, { control_plane: { cluster: "holdfast" }, ...service });
  const [relay, gate] = [of({ service: true }), of({})];
  gate.shareWith(relay);
  const envoy = [relay, gate];
  runTogether(envoy, 2, () => relay.sent.some(isSync));
  tellAll(relay, targets, { state, heartbeat_ms: 5000 });
  return { envoy, relay, gate };
}

/** Host calls of all kinds together. */
export const total = (calls) => Object.values(calls).reduce((sum, n) => sum + n, 0);

/** What relay and gate, here in one VM, do for a change of one target, on average: an answer to a poll, published and read. */
export function costsOfAChange(path, targets) {
  const host = warm(path, targets);
  let n = 1;
  const one = () => {
    n += 1;
    const changed = target((n * 7919) % targets, { state: n % 2 ? "ready" : "asleep", epoch: n });
    return host.change(n, [changed]);
  };
  // Until the latest changes, which a gate can follow one by one, are as many as are ever kept.
  for (let left = 500; left > 0; left--) one();
  const sum = { steps: 0, sharedBytes: 0, calls: 0 };
  const changes = 300;
  for (let left = changes; left > 0; left--) {
    const { steps, sharedBytes, calls } = one();
    sum.steps += steps;
    sum.sharedBytes += sharedBytes;
    sum.calls += total(calls);
  }
  for (const what in sum) sum[what] /= changes;
  return sum;
}

/** Of a target's cluster, and its host's first label: all of one length, so that hashing them takes the same. */
export const name = (n) => `web-${String(n).padStart(5, "0")}`;

/** The n-th target, as the control plane tells of it. */
export function target(n, { by = "cluster", state = "ready", epoch = 1, ignore = {}, loss = "hold" } = {}) {
  return {
    id: `shop/${name(n)}`,
    state,
    epoch,
    ready_endpoints: 1,
    clusters: by === "cluster" ? [name(n)] : [],
    hosts: by === "host" ? [`${name(n)}.example.com`] : [],
    hold: { timeout_ms: 60000, max_requests: 1000, max_bytes: 67108864, unknown_body: 65536, on_control_plane_loss: loss },
    release: { concurrency_per_endpoint: 100 },
    confirm: { kind: "http", path: "/", timeout_ms: 1000, give_up_ms: 5000 },
    ignore,
  };
}

function answer(n, full, targets, heartbeat_ms = 1000) {
  return {
    revision: { instance: "test", n },
    full,
    targets,
    removed: [],
    heartbeat_ms,
    forget_after_ms: 600000,
  };
}

/** Runs those tests whose names contain `filter`, prints what cargo's test runner would, and ends. */
export function runTests(tests, filter) {
  let [passed, failed] = [0, 0];
  for (const [fact, test] of Object.entries(tests).filter(([fact]) => fact.includes(filter))) {
    try {
      test();
      passed += 1;
      console.log(`test ${fact} ... ok`);
    } catch (error) {
      failed += 1;
      console.log(`test ${fact} ... FAILED\n${error.stack}`);
    }
  }
  console.log(`\ntest result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; 0 ignored`);
  process.exit(failed ? 1 : 0);
}

// What the shell does around `hold` when it registers, is forgotten, leaves, and carries out: `node members.mjs holdfast.wasm [FILTER]`.

import assert from "node:assert/strict";
import { name, runTests, warm } from "./host.mjs";

const [shipped, filter = ""] = process.argv.slice(2);

const MEMBERS = (key) => key.endsWith(".members");
const STATUS = (key) => /\.status\.\d+$/.test(key);
const ENVOY_QUOTA = (key) => key.endsWith(".quota");
/** Most that a callback may resume or refuse: the VM's stack overflowed at 273. */
const BATCH = 64;

const tests = {
  a_gate_that_was_forgotten_follows_the_head_under_its_new_name() {
    const host = warm(shipped, 1);
    host.tickUntil(() => applied(host) > 0, "a status that has followed the manifest");
    host.shared.get(host.key(MEMBERS)).value = noMembers(host);
    host.tickUntil(() => host.log.some((line) => line.includes("was forgotten")), "it to notice");
    assert.equal(members(host), 1, "must register again");
    assert.ok(applied(host) > 0, "its status must not say that it knows nothing");
  },

  one_that_leaves_takes_its_row_away_while_the_id_is_its_own() {
    const host = warm(shipped, 1);
    host.writes = [];
    host.exports.proxy_on_delete(1);
    const status = host.writes.findIndex(STATUS);
    const list = host.writes.findIndex(MEMBERS);
    assert.ok(status >= 0 && list > status, `the status first, then the id: ${host.writes}`);
    assert.equal(members(host), 0, "must be off the list");
  },

  one_that_leaves_lets_the_row_of_the_next_user_of_its_id_be() {
    const host = warm(shipped, 1);
    const status = host.shared.get(host.key(STATUS));
    const theirs = Buffer.from(status.value);
    theirs[1] ^= 1;
    status.value = theirs;
    host.exports.proxy_on_delete(1);
    assert.deepEqual(host.shared.get(host.key(STATUS)).value, theirs, "must not be blanked: another nonce wrote it");
  },

  permits_that_cannot_be_given_back_are_given_back_at_a_later_tick() {
    const host = warm(shipped, 1, { state: "asleep" });
    host.begin(1000, { cluster: name(0) });
    const held = host.shared.get(host.key(ENVOY_QUOTA)).value.length;
    assert.ok(held > 0, "must take a permit");
    // Every write to a quota is lost to others.
    host.loses = (key) => key.includes(".quota");
    host.exports.proxy_on_delete(1000);
    assert.equal(host.shared.get(host.key(ENVOY_QUOTA)).value.length, held, "cannot be given back");
    host.loses = () => false;
    host.tickUntil(() => host.shared.get(host.key(ENVOY_QUOTA)).value.length === 0, "the permit to be back");
  },

  one_that_is_in_debt_stays_listed() {
    const host = warm(shipped, 1, { state: "asleep" });
    host.begin(1000, { cluster: name(0) });
    host.loses = (key) => key.includes(".quota");
    host.exports.proxy_on_delete(1000);
    host.exports.proxy_on_delete(1);
    assert.equal(members(host), 1, "must be missed by the relay, which closes its accounts");
  },

  an_account_that_was_closed_is_opened_again() {
    const host = warm(shipped, 1, { state: "asleep" });
    host.begin(1000, { cluster: name(0) });
    const quota = host.shared.get(host.key(ENVOY_QUOTA));
    const value = quota.value;
    quota.value = Buffer.alloc(0);
    quota.cas += 1;
    host.tickUntil(() => quota !== host.shared.get(host.key(ENVOY_QUOTA)), "the account to be written");
    assert.deepEqual(host.shared.get(host.key(ENVOY_QUOTA)).value, value, "what is held must count again");
  },

  an_account_of_no_gate_is_closed() {
    const host = warm(shipped, 1, { state: "asleep" });
    host.begin(1000, { cluster: name(0) });
    const quota = host.shared.get(host.key(ENVOY_QUOTA));
    const own = quota.value;
    const strangers = Buffer.from(own);
    strangers.writeUInt32LE(77, 0);
    quota.value = Buffer.concat([own, strangers]);
    host.tickUntil(() => host.shared.get(host.key(ENVOY_QUOTA)).value.length === own.length, "it to be closed");
    assert.deepEqual(host.shared.get(host.key(ENVOY_QUOTA)).value, own);
  },

  a_callback_carries_out_a_batch_at_most() {
    const host = warm(shipped, 1, { state: "asleep" });
    const ids = Array.from({ length: 200 }, (_, n) => 1000 + n);
    for (const id of ids) assert.notEqual(host.begin(id, { cluster: name(0) }), 0, "must be held");
    host.most = 0;
    // Their time is up.
    host.now += 61_000_000_000n;
    host.tickUntil(() => host.replies.length === ids.length, "all to be refused");
    assert.equal(host.most, BATCH, "must use a batch, and no more: Envoy's stack is what bounds it");
  },
};

function members(host) {
  // A format, the length of the list, and the members.
  return host.shared.get(host.key(MEMBERS)).value[1];
}

function noMembers(host) {
  return Buffer.from([host.shared.get(host.key(MEMBERS)).value[0], 0]);
}

/** The version that the gate's status says it has applied. */
function applied(host) {
  const status = host.shared.get(host.key(STATUS)).value;
  let at = 1;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = status[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  number(); // the nonce
  return Number(number());
}

runTests(tests, filter);

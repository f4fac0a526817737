// What a request to a workload that is up costs, counted and not timed: `node warm.mjs holdfast.wasm holdfast-steps.wasm [FILTER]`.
// The second is the same module with a call at the beginning of every function and loop.

import assert from "node:assert/strict";
import { costsOfAChange, name, runTests, runTogether, total, twoVms as two, warm } from "./host.mjs";

const [shipped, stepped, filter = ""] = process.argv.slice(2);
const MANY = 10_000;
const CONTINUE = 0;

const byCluster = (n) => ({ cluster: name(n) });
const byHost = (n) => ({ cluster: "shared", headers: { ":authority": `${name(n)}.example.com` } });
/** What a warm request makes. */
const WARM = {
  cluster: { proxy_get_property: 1 },
  host: { proxy_get_property: 1, proxy_get_header_map_value: 1 },
};
const VISITOR = { path: "/", agent: "curl/8" };
const PROBE = { path: "/healthz", agent: "kube-probe/1.30" };
const as = ({ path, agent }, { cluster, headers }) => ({
  cluster,
  headers: { ...headers, ":path": path, "user-agent": agent },
});
/** The control plane does not answer for longer than three heartbeats. */
const loseControlPlane = (host) => {
  const end = host.now + 5_000_000_000n;
  host.tickUntil(() => host.now >= end, "the loss of the control plane");
};
const twoVms = (state) => two(shipped, 1, { state });
const unknown = () => ({ cluster: "unknown-0", headers: { ":authority": "unknown-0.example.com" } });

const tests = {
  a_warm_request_makes_one_host_call() {
    for (const targets of [1, MANY]) {
      const { action, calls } = warm(shipped, targets).request(1000, byCluster(targets - 1));
      assert.equal(action, CONTINUE, "must pass");
      assert.deepEqual(calls, { proxy_get_property: 1 }, `with ${targets} targets`);
    }
  },

  a_warm_request_that_is_found_by_host_makes_two() {
    for (const targets of [1, MANY]) {
      const { action, calls } = warm(shipped, targets, { by: "host" }).request(1000, byHost(targets - 1));
      assert.equal(action, CONTINUE, "must pass");
      assert.deepEqual(calls, { proxy_get_property: 1, proxy_get_header_map_value: 1 }, `with ${targets} targets`);
    }
  },

  a_request_of_no_target_makes_no_more() {
    for (const by of ["cluster", "host"]) {
      const { action, calls } = warm(shipped, MANY, { by }).request(1000, unknown());
      assert.equal(action, CONTINUE, "must pass");
      assert.ok(total(calls) <= 2, `must make two host calls at most: ${JSON.stringify(calls)}`);
    }
  },

  a_warm_request_of_a_target_that_ignores_some_makes_one_more_for_each_way_of_telling_them() {
    for (const by of ["cluster", "host"]) {
      for (const [ignore, more] of [
        [{ paths: ["/healthz"] }, 1],
        [{ user_agents: ["kube-probe"] }, 1],
        [{ paths: ["/healthz"], user_agents: ["kube-probe"] }, 2],
      ]) {
        const host = warm(shipped, 1, { by, ignore });
        for (const client of [VISITOR, PROBE]) {
          const { action, calls } = host.request(1000, as(client, by === "host" ? byHost(0) : byCluster(0)));
          assert.equal(action, CONTINUE, "must pass");
          const headers = (by === "host" ? 1 : 0) + more;
          const expected = { proxy_get_property: 1, proxy_get_header_map_value: headers };
          assert.deepEqual(calls, expected, `${by}, ${JSON.stringify(ignore)}, ${client.path}`);
        }
      }
    }
  },

  what_is_read_of_a_request_is_read_once() {
    const held = (ignore) => warm(shipped, 1, { state: "asleep", ignore }).request(1000, as(VISITOR, byCluster(0))).calls;
    assert.deepEqual(held({ paths: ["/healthz"], user_agents: ["kube-probe"] }), held({}), "must be held at the same cost");
  },

  a_request_of_a_suspended_target_makes_no_more_than_a_warm_one() {
    for (const [by, expected] of Object.entries(WARM)) {
      const host = warm(shipped, 1, { by, state: "suspended" });
      const { action, calls } = host.request(1000, by === "host" ? byHost(0) : byCluster(0));
      assert.equal(action, CONTINUE, "must pass");
      assert.deepEqual(calls, expected, by);
    }
  },

  a_request_that_passes_for_want_of_a_control_plane_makes_no_more_than_a_warm_one() {
    const host = warm(shipped, 1, { state: "asleep", loss: "pass" });
    loseControlPlane(host);
    const { action, calls } = host.request(1000, byCluster(0));
    assert.equal(action, CONTINUE, "must pass");
    assert.deepEqual(calls, WARM.cluster);
  },

  a_target_that_sleeps_is_held_for() {
    // So that the others do not pass merely because everything does.
    const host = warm(shipped, 1, { state: "asleep" });
    const { action, calls } = host.request(1000, byCluster(0));
    assert.notEqual(action, CONTINUE, "must be held");
    assert.ok(calls.proxy_set_shared_data > 0, "must take a permit");
  },

  warm_requests_leave_nothing_behind() {
    const host = warm(shipped, 100);
    for (let id = 1000; id < 2000; id++) host.request(id, byCluster(id % 100));
    let grown = 0;
    for (let id = 2000; id < 22_000; id++) grown += host.request(id, byCluster(id % 100)).grown;
    assert.equal(grown, 0, "must not take memory");
  },

  an_envoy_to_which_nothing_happens_ticks_twice_a_second() {
    const { envoy, relay, gate } = twoVms("ready");
    const atFirst = runTogether(envoy, 1);
    assert.ok(Math.min(...atFirst) >= 9, `must tick ten times a second at first: ${atFirst}`);
    runTogether(envoy, 4);
    checkRest(envoy, "at rest");
    assert.ok(!relay.gaveUp() && !gate.isRelay(), "must keep its lease");
  },

  a_request_makes_ticks_frequent_for_a_second() {
    const { envoy, relay, gate } = twoVms("ready");
    runTogether(envoy, 5);
    gate.request(1000, byCluster(0));
    const ticks = runTogether(envoy, 2);
    assert.ok(Math.min(...ticks) >= 9, `must wake up: ${ticks} in 2 s`);
    checkRest(envoy, "after a request");
    assert.ok(!relay.gaveUp() && !gate.isRelay(), "must keep its lease");
  },

  an_envoy_that_holds_and_to_which_nothing_happens_rests() {
    const { envoy, relay, gate } = twoVms("asleep");
    runTogether(envoy, 5);
    const since = gate.now;
    gate.begin(1000, byCluster(0));
    runTogether(envoy, 3);
    assert.ok(relay.sent.some((call) => call.body.includes('"held":1')), "must be reported");
    checkRest(envoy, "while something is held");
    assert.deepEqual(gate.replies, [], "must still be held");
    runTogether(envoy, 60, () => gate.replies.length > 0);
    assert.deepEqual(gate.replies, [504], "must be refused when its time is up");
    const held = Number(gate.now - since) / 1e6;
    assert.ok(held >= 60_000 && held < 60_100, `its time is a minute, and no tick longer: ${held} ms`);
    assert.ok(!relay.gaveUp() && !gate.isRelay(), "must keep its lease");
  },

  a_relay_that_dies_is_replaced_within_two_and_a_half_seconds() {
    for (const state of ["ready", "asleep"]) {
      for (const rest of [0, 1, 5, 5.1, 5.3]) {
        const { envoy, gate } = twoVms(state);
        runTogether(envoy, rest);
        // It is needed or not.
        if (state === "asleep") gate.begin(1000, byCluster(0));
        const since = gate.now;
        runTogether([gate], 5, () => gate.isRelay());
        assert.ok(gate.isRelay(), "must take the lease");
        const waited = Number(gate.now - since) / 1e6;
        assert.ok(waited >= 1000 && waited <= 2500, `${state}, after ${rest} s: ${waited} ms`);
      }
    }
  },

  a_request_costs_the_same_however_many_targets_there_are() {
    for (const [by, request] of [["cluster", byCluster], ["host", byHost], ["cluster", unknown], ["host", unknown]]) {
      const [one, many] = [1, MANY].map((targets) => steps(targets, by, request));
      console.log(`  steps of a request found by ${by}${request === unknown ? ", of no target" : ""}: ${one} of 1 target, ${many} of ${MANY}`);
      // Two keys may fall into one group of a hash table: then one more comparison.
      assert.ok(many <= one * 1.05, `must not grow with the number of targets: ${one} steps became ${many}`);
    }
  },

  a_change_costs_the_same_however_many_targets_there_are() {
    const [few, many] = [100, MANY].map((targets) => costsOfAChange(stepped, targets));
    for (const [what, cost] of Object.entries(few)) {
      console.log(`  ${what} of a change: ${cost} of 100 targets, ${many[what]} of ${MANY}`);
      assert.ok(cost > 0, `must be counted: ${what}`);
      assert.ok(many[what] <= cost * 1.05, `must not grow with the number of targets: ${cost} ${what} became ${many[what]}`);
    }
  },
};

/** Nothing is urgent: a tick each half second, and one for each of the relay's reports, which come every five seconds. */
function checkRest(envoy, when) {
  const [relay, gate] = runTogether(envoy, 20);
  assert.ok(relay >= 39 && relay <= 46, `the relay must tick twice a second ${when}: ${relay} in 20 s`);
  assert.ok(gate >= 39 && gate <= 42, `a gate must tick twice a second ${when}: ${gate} in 20 s`);
}

/** Functions entered and loops gone round in one request, on average over the targets. */
function steps(targets, by, request) {
  const host = warm(stepped, targets, { by });
  let id = 1000;
  const one = () => host.request(id++, request(Math.floor((id * 7919) % targets))).steps;
  // The first one finds the dispatcher's tables empty.
  one();
  const rounds = 500;
  let sum = 0;
  for (let n = 0; n < rounds; n++) sum += one();
  assert.ok(sum > 0, "the module must count its steps");
  return sum / rounds;
}

runTests(tests, filter);

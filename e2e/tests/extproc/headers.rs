//! Changes of headers: the same on the other side as in the reply, to the byte.

use extproc::{Exchange, Headers, HeadersReply, Immediate, ModeOverride};
use http::HeaderMap;
use serde_json::json;

use crate::world::{Content, Filter, Front, World, serve, sha256};

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect()
}

/// Every byte that HTTP allows in a value.
fn every_byte() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0x21..=0x7e).collect();
    bytes.push(b'\t');
    bytes.extend(0x80..=0xff);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_bytes_both_ways() {
    let processor = extproc::processor::<()>("bytes")
        .on_request_headers(async |_: Exchange<()>, headers: Headers| {
            let shown = headers.get("x-raw").unwrap_or_default().to_vec();
            Ok(HeadersReply::unchanged()
                .set("x-shown", shown)
                .set("x-set", every_byte()))
        })
        .on_response_headers(async |_: Exchange<()>, headers: Headers| {
            let shown = headers.get("x-raw").unwrap_or_default().to_vec();
            Ok(HeadersReply::unchanged()
                .set("x-shown", shown)
                .set("x-set", every_byte()))
        });
    let served = serve(processor, |server| server).await;
    let world = World::start([Front::new(Filter::new(&served))]).await;
    for http2 in [false, true] {
        let id = format!("http2 {http2}");
        let client = if http2 {
            world.client(0).http2().await
        } else {
            world.client(0)
        };
        let call = client
            .get("/odd")
            .header("x-test-id", &id)
            .header("x-raw", every_byte());
        let reply = call.send().await;
        let seen = world.origin.seen(&id).await;
        assert_eq!(all(&seen.headers, "x-raw"), [every_byte()], "{id}: untouched");
        assert_eq!(
            all(&seen.headers, "x-shown"),
            [every_byte()],
            "{id}: as the processor saw it"
        );
        assert_eq!(
            all(&seen.headers, "x-set"),
            [every_byte()],
            "{id}: as the processor set it"
        );
        assert_eq!(all(&reply.headers, "x-raw"), [&b"\x80\xc3\xbc\xff"[..]], "{id}");
        assert_eq!(all(&reply.headers, "x-shown"), [&b"\x80\xc3\xbc\xff"[..]], "{id}");
        assert_eq!(all(&reply.headers, "x-set"), [every_byte()], "{id}");
    }
    world.clean().await;
}

/// Everything that a reply can do with a name.
fn edited(reply: HeadersReply) -> HeadersReply {
    reply
        .append("x-many", "three")
        .set_if_absent("x-many", "no")
        .set_if_absent("x-absent", "yes")
        .set_if_present("x-gone", "no longer")
        .remove("x-gone")
        .append("x-gone", "again")
        .set("x-two", "1")
        .append("x-two", "2")
        .append("x-last", "no")
        .set("x-last", "yes")
        .set_if_present("x-nowhere", "no")
        .set("x-empty", "")
        .remove("x-out")
        .set("X-Case", "kept")
}

fn is_edited(headers: &HeaderMap, side: &str) {
    assert_eq!(all(headers, "x-many"), [&b"one"[..], b"two", b"three"], "{side}");
    assert_eq!(all(headers, "x-absent"), [&b"yes"[..]], "{side}");
    assert_eq!(all(headers, "x-gone"), [&b"again"[..]], "{side}");
    assert_eq!(all(headers, "x-two"), [&b"1"[..], b"2"], "{side}");
    assert_eq!(all(headers, "x-last"), [&b"yes"[..]], "{side}");
    assert!(all(headers, "x-nowhere").is_empty(), "{side}");
    assert_eq!(all(headers, "x-empty"), [&b""[..]], "{side}");
    assert!(all(headers, "x-out").is_empty(), "{side}");
    assert_eq!(all(headers, "x-case"), [&b"kept"[..]], "{side}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_mean_in_envoy_what_they_say() {
    let processor = extproc::processor::<()>("edits")
        .on_request_headers(async |_: Exchange<()>, _: Headers| Ok(edited(HeadersReply::unchanged())))
        .on_response_headers(async |_: Exchange<()>, _: Headers| {
            Ok(edited(HeadersReply::unchanged())
                .append("set-cookie", "c=3")
                .remove("x-out"))
        });
    let served = serve(processor, |server| server.duration_header(Some("x-duration"))).await;
    let world = World::start([Front::new(Filter::new(&served))]).await;
    for http2 in [false, true] {
        let id = format!("http2 {http2}");
        let client = if http2 {
            world.client(0).http2().await
        } else {
            world.client(0)
        };
        let call = client.get("/odd").header("x-test-id", &id);
        let call = call
            .header("x-many", "one")
            .header("x-many", "two")
            .header("x-gone", "soon")
            .header("x-out", "1");
        let reply = call.send().await;
        let seen = world.origin.seen(&id).await;
        is_edited(&seen.headers, "the upstream's");
        is_edited(&reply.headers, "the client's");
        assert_eq!(
            all(&reply.headers, "set-cookie"),
            [&b"a=1"[..], b"b=2", b"c=3"],
            "{id}"
        );
        assert_eq!(reply.header("x-ext-procs-applied"), Some("edits"), "{id}");
        let duration: u64 = reply.header("x-duration").unwrap().parse().unwrap();
        assert!(duration > 0, "{id}");
    }
    world.clean().await;
}

/// The chain header names processors in the order of the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_header_reads_in_the_order_of_the_request() {
    let first = serve(extproc::processor::<()>("first"), |server| server).await;
    let second = serve(extproc::processor::<()>("second"), |server| server).await;
    let world = World::start([Front::chain([Filter::new(&first), Filter::new(&second)])]).await;
    let reply = world.client(0).get("/take").send().await;
    assert_eq!(all(&reply.headers, "x-ext-procs-applied"), [&b"first,second"[..]]);
    world.clean().await;
}

/// Pseudo-headers, and another route by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_can_be_sent_elsewhere() {
    let processor = extproc::processor::<()>("router")
        .on_request_headers(async |exchange: Exchange<()>, _: Headers| {
            assert_eq!((exchange.method(), exchange.path()), (Some("GET"), Some("/a")));
            let query: Vec<_> = exchange.query().collect();
            assert_eq!(query, [("b", "1"), ("c", "")]);
            let reply = HeadersReply::unchanged()
                .set(":path", "/give?bytes=3&declared")
                .set(":method", "POST");
            Ok(reply.clear_route_cache())
        })
        .on_response_headers(async |_: Exchange<()>, _: Headers| {
            Ok(HeadersReply::unchanged().set(":status", "418"))
        });
    let served = serve(processor, |server| server).await;
    let nowhere = json!({"match": {"prefix": "/a"}, "direct_response": {"status": 404}});
    // `:path` may be changed by default, `:method`, `:authority` and `:scheme` where the filter says so.
    let free = Filter::new(&served).set("mutation_rules/allow_all_routing", true);
    let world = World::start(
        [free, Filter::new(&served)].map(|filter| Front::new(filter).any_route(nowhere.clone())),
    );
    let world = world.await;
    let get = |front, id| world.client(front).get("/a?b=1&c").header("x-test-id", id);
    let reply = get(0, "moved").send().await;
    assert_eq!((reply.status, reply.body.len()), (418, 3));
    let seen = world.origin.seen("moved").await;
    assert_eq!(
        (seen.path.as_str(), seen.method.as_str()),
        ("/give?bytes=3&declared", "POST")
    );
    get(1, "not posted").send().await;
    assert_eq!(world.origin.seen("not posted").await.method, "GET");
    world.ended(&[("1.rejected_header_mutations", 1)]).await;
}

/// What Envoy's rules forbid does not happen and is counted; with `disallow_is_error` the request is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_rules_forbid_is_counted() {
    let processor =
        extproc::processor::<()>("forbidden").on_request_headers(async |_: Exchange<()>, _: Headers| {
            let reply = HeadersReply::unchanged().set("x-envoy-upstream-rq-timeout-ms", "20000");
            Ok(reply.set("x-allowed", "1").set("host", "elsewhere"))
        });
    let served = serve(processor, |server| server).await;
    let strict = Filter::new(&served).set("mutation_rules/disallow_is_error", true);
    let loose = Filter::new(&served).set("mutation_rules/allow_envoy", true);
    let fronts = [Filter::new(&served), strict, loose].map(Front::new);
    let world = World::start(fronts).await;
    let reply = world
        .client(0)
        .get("/take")
        .header("x-test-id", "default")
        .send()
        .await;
    assert_eq!(reply.status, 200);
    let seen = world.origin.seen("default").await;
    assert_eq!(all(&seen.headers, "x-allowed"), [&b"1"[..]]);
    assert_eq!(all(&seen.headers, "host"), [&b"test.example.com"[..]]);
    assert_eq!(world.client(1).get("/take").send().await.status, 500);
    let reply = world
        .client(2)
        .get("/take")
        .header("x-test-id", "loose")
        .send()
        .await;
    assert_eq!(reply.status, 200);
    let rejected = [
        ("rejected_header_mutations", 2),
        ("1.rejected_header_mutations", 1),
    ];
    world
        .ended(&[rejected[0], rejected[1], ("2.rejected_header_mutations", 1)])
        .await;
}

/// A reply that copies headers of the connection, or that HTTP does not allow, is refused with the client told so: it would truncate
/// streams over HTTP/2 (gateway-api-inference-extension#2993).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_the_connection_are_refused() {
    let processor = extproc::processor::<()>("copies").on_response_headers(
        async |exchange: Exchange<()>, headers: Headers| {
            let asked = exchange.request_headers().and_then(|asked| asked.text("x-copy"));
            Ok(match asked {
                Some("all") => HeadersReply::unchanged().headers(headers.iter()),
                Some(name) => HeadersReply::unchanged().set(name, "1"),
                None => HeadersReply::unchanged(),
            })
        },
    );
    let served = serve(processor, |server| {
        server.on_fail(Immediate::new(502).body("refused"))
    })
    .await;
    let world = World::start([Front::new(Filter::new(&served))]).await;
    for http2 in [false, true] {
        let client = if http2 {
            world.client(0).http2().await
        } else {
            world.client(0)
        };
        for name in [
            "transfer-encoding",
            "connection",
            "keep-alive",
            "upgrade",
            "bad name",
        ] {
            let reply = client
                .get("/give?bytes=300000")
                .header("x-copy", name)
                .send()
                .await;
            assert_eq!(reply.status, 500, "{name} over http2 {http2}: {reply:?}");
        }
        // Over HTTP/1 the upstream's answer is chunked, and a copy of all its headers has `transfer-encoding`.
        let reply = client
            .get("/give?bytes=300000")
            .header("x-copy", "all")
            .try_send()
            .await;
        if let Ok(reply) = reply
            && reply.status == 200
        {
            assert_eq!(
                sha256(&reply.body),
                sha256(&Content::of(300_000, 77)),
                "http2 {http2}: truncated"
            );
        }
        let reply = client.get("/give?bytes=300000").send().await;
        assert_eq!(
            sha256(&reply.body),
            sha256(&Content::of(300_000, 77)),
            "http2 {http2}"
        );
    }
}

/// The request's headers are known in every later phase, whether there was a body or not (gateway-api-inference-extension#2585), and
/// whether all of them are kept or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_headers_are_known_in_every_phase() {
    let processor = || {
        extproc::processor::<()>("knows").on_response_headers(async |exchange: Exchange<()>, _: Headers| {
            let known = format!(
                "{} {} {} {}",
                exchange.method().unwrap_or("-"),
                exchange.authority().unwrap_or("-"),
                exchange.path_and_query().unwrap_or("-"),
                exchange.request_id().unwrap_or("-"),
            );
            let own = exchange
                .request_headers()
                .is_some_and(|headers| headers.contains("x-own"));
            Ok(HeadersReply::unchanged()
                .set("x-known", known)
                .set("x-own-known", own.to_string()))
        })
    };
    let keeps = serve(processor(), |server| server).await;
    let drops = serve(processor(), |server| server.keep_headers(false)).await;
    let world = World::start([&keeps, &drops].map(|served| Front::new(Filter::new(served)))).await;
    for (front, own) in [(0, "true"), (1, "false")] {
        for body in ["", "some"] {
            let call = world.client(front).post("/take?q", body).header("x-own", "1");
            let reply = call.header("x-request-id", "42").send().await;
            // Envoy makes the id its own.
            let known = reply.header("x-known").unwrap();
            assert!(known.starts_with("POST test.example.com /take?q "), "{known}");
            assert!(!known.ends_with('-'), "{known}");
            assert_eq!(reply.header("x-own-known"), Some(own));
        }
    }
    world.clean().await;
}

/// Attributes and metadata come in and go out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_come_in_and_metadata_goes_on() {
    let first = extproc::processor::<()>("gives").on_request_headers(async |_: Exchange<()>, _: Headers| {
        Ok(HeadersReply::unchanged()
            .metadata("test.own", "tenant", "blue")
            .metadata("test.own", "level", 3))
    });
    let second =
        extproc::processor::<()>("takes").on_request_headers(async |exchange: Exchange<()>, _: Headers| {
            let metadata = exchange.metadata("test.own").unwrap_or_default();
            let cluster = exchange.attribute("xds.cluster_name").unwrap_or_default();
            let reply = HeadersReply::unchanged().set("x-metadata", serde_json::to_string(&metadata)?);
            Ok(reply
                .set("x-cluster", cluster.as_str().unwrap_or("-"))
                .mode(ModeOverride::default()))
        });
    let (first, second) = (
        serve(first, |server| server).await,
        serve(second, |server| server).await,
    );
    let gives = Filter::new(&first).set(
        "metadata_options/receiving_namespaces/untyped",
        json!(["test.own"]),
    );
    let takes = Filter::new(&second)
        .set(
            "metadata_options/forwarding_namespaces/untyped",
            json!(["test.own"]),
        )
        .set("request_attributes", json!(["xds.cluster_name"]));
    let world = World::start([Front::chain([gives, takes])]).await;
    world
        .client(0)
        .get("/take")
        .header("x-test-id", "meta")
        .send()
        .await;
    let seen = world.origin.seen("meta").await;
    let metadata: serde_json::Value = serde_json::from_slice(seen.headers["x-metadata"].as_bytes()).unwrap();
    assert_eq!(metadata, json!({"tenant": "blue", "level": 3}));
    assert_eq!(seen.headers["x-cluster"], "origin");
    world.clean().await;
}

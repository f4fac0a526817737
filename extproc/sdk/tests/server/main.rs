//! Facts of the server, seen by real clients over TCP and unix sockets: gRPC by tonic, and HTTP/2 by h2 where frames matter.

mod bounds;
mod extras;
mod resets;
mod stop;
mod support;
mod tls;

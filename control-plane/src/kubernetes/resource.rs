//! Finds the resource and the scale subresource of a kind, by the API server's discovery.

//! Writes replicas through the scale subresource: up from zero, down to zero, never anything else.

//! The `ScaleTarget` custom resource: schema, printer columns, status.

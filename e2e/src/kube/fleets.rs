//! A custom kind whose replicas stand where only its definition tells.

/// Its definition: `example.com/v1`, `Fleet`, with a scale subresource at `spec.size`.
pub const FLEETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: fleets, singular: fleet, kind: Fleet}
  versions:
    - name: v1
      served: true
      storage: true
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size, labelSelectorPath: .status.selector}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer, minimum: 0}}}
            status: {type: object, properties: {size: {type: integer}, selector: {type: string}}}
";

// The manifests of one global service with one endpoint, as measurements and the training of the executable use them.
export interface OneService {
  /** Of the service and of the backend. */
  readonly port: number
  readonly backend: { readonly address: string; readonly port: number }
}

/** YAML of a Service and its EndpointSlice. */
export function oneService({ port, backend }: OneService): string {
  return `apiVersion: v1
kind: Service
metadata: { name: echo, namespace: default, annotations: { service.cilium.io/global: "true" } }
spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: ${port} }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: echo-1, namespace: default, labels: { kubernetes.io/service-name: echo } }
addressType: IPv4
ports: [{ name: http, port: ${backend.port}, protocol: TCP }]
endpoints: [{ addresses: [${backend.address}], conditions: { ready: true } }]
`
}

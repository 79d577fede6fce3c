/** Patterns of services: `NAMESPACE/NAME` with wildcards. */
/** Tests whether a service matches. */
export type ServicePattern = (service: { readonly namespace: string; readonly name: string }) => boolean

/** `secrets/vault`, `secrets/*`, `monitoring/prom*`: `*` matches any part of a namespace or name. Undefined if malformed. */
export function parseServicePattern(text: string): ServicePattern | undefined {
  const [, namespace, name] = /^([a-z0-9.*-]+)\/([a-z0-9.*-]+)$/.exec(text) ?? []
  if (namespace === undefined || name === undefined) return undefined
  const inNamespace = matcher(namespace)
  const inName = matcher(name)
  return service => inNamespace.test(service.namespace) && inName.test(service.name)
}

function matcher(glob: string): RegExp {
  return new RegExp(`^${glob.replaceAll('.', '\\.').replace(/\*+/g, '.*')}$`)
}

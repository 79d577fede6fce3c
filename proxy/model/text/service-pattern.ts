/** Says of a service whether it is meant. */
export type ServicePattern = (service: { readonly namespace: string; readonly name: string }) => boolean

/** `secrets/vault`, `secrets/*`, `monitoring/prom*`: `*` stands for any part of a namespace or of a name. */
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

import { bad, type Field, field, type GlobalService, shown } from '../../proxy/plugin.ts'

/** Says of a service whether it is meant. */
export type Pattern = (service: GlobalService) => boolean

/** `secrets/vault`, `secrets/*`, `monitoring/prom*`: `*` stands for any part of a namespace or of a name. */
export function pattern(help: string): Field<Pattern> {
  return field('NAMESPACE/NAME', help, undefined, value => {
    const [, namespace, name] = (typeof value === 'string' && /^([a-z0-9.*-]+)\/([a-z0-9.*-]+)$/.exec(value)) || []
    if (namespace === undefined || name === undefined) {
      return bad(`${shown(value)} names no services; write namespace/name, with * for any`)
    }
    const inNamespace = matcher(namespace)
    const inName = matcher(name)
    return service => inNamespace.test(service.namespace) && inName.test(service.name)
  })
}

function matcher(glob: string): RegExp {
  return new RegExp(`^${glob.replaceAll('.', '\\.').replace(/\*+/g, '.*')}$`)
}

/** The names of services by their backends. */
import { endpointText } from '../../model/address.ts'
import type { Directory } from '../../model/directory.ts'

/** Names as in a cluster, with the port of a service; worked out again after a change, when somebody asks. */
export function serviceNames(
  directory: Directory,
): (cluster: string, address: string, port: number) => string | undefined {
  let known: Map<string, string> | undefined
  directory.onChange(() => {
    known = undefined
  })
  return (cluster, address, port) => {
    known ??= new Map(
      [...directory.services()].flatMap(({ namespace, name, frontends }) =>
        frontends.flatMap(frontend =>
          frontend.backends.map(backend => [
            `${backend.cluster}/${endpointText(backend.address, backend.port)}`,
            `${name}.${namespace}.svc.cluster.local:${frontend.port}`,
          ]),
        ),
      ) as [string, string][],
    )
    return known.get(`${cluster}/${endpointText(address, port)}`)
  }
}

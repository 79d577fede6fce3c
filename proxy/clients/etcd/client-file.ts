/** Cilium's client file for one cluster: etcd's client configuration plus Cilium's host aliases. */
import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import * as v from 'valibot'
import { parse as parseYaml } from 'yaml'
import { MeshError, messageOf } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { shown } from '../../model/text/spelling.ts'
import type { EtcdServers } from './server.ts'

const addresses = v.pipe(
  v.array(
    v.pipe(
      v.string(),
      v.check(ip => isIP(ip) !== 0, 'is not an IP address'),
    ),
  ),
  v.minLength(1, 'is empty; give at least one address'),
)
const hostname = v.pipe(v.string(), v.nonEmpty('is empty; give a host name'))

const clientFile = v.object({
  endpoints: v.pipe(v.array(v.string()), v.minLength(1, 'is empty; give at least one server')),
  'trusted-ca-file': v.nullish(v.string()),
  'cert-file': v.nullish(v.string()),
  'key-file': v.nullish(v.string()),
  // Cilium's parser reads a list; one revision of its chart wrote a mapping.
  'cilium-host-aliases': v.nullish(
    v.union([
      v.array(v.object({ hostname, ips: addresses })),
      v.pipe(
        v.custom<object>(value => typeof value === 'object' && !Array.isArray(value)),
        v.record(hostname, v.object({ ips: addresses })),
        v.transform(table => Object.entries(table).map(([hostname, { ips }]) => ({ hostname, ips }))),
      ),
    ]),
    [],
  ),
})

export async function readClientFile(path: string): Promise<EtcdServers> {
  try {
    return parseClientFile(await readRegularText(path), path)
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError('SOURCE_READ', `cannot read the client file: ${messageOf(error)}`, { cause: error })
  }
}

/** Paths are relative to the file. Unknown fields are ignored, as by etcd's own client. */
export function parseClientFile(text: string, path: string): EtcdServers {
  const result = v.safeParse(clientFile, yamlOf(text, path), { abortEarly: true })
  if (!result.success) {
    const [issue] = result.issues
    throw new MeshError('SOURCE_READ', `${path}: ${v.getDotPath(issue) ?? 'the file'}: ${issue.message}`)
  }
  const file = result.output
  const aliases = new Map<string, readonly string[]>()
  for (const { hostname, ips } of file['cilium-host-aliases'] ?? []) {
    if (aliases.has(hostname)) {
      throw new MeshError('SOURCE_READ', `${path}: cilium-host-aliases lists ${shown(hostname)} twice; remove one`)
    }
    aliases.set(hostname, ips)
  }
  const absolute = (name: string | null | undefined) => (name ? resolve(dirname(path), name) : undefined)
  return {
    endpoints: file.endpoints,
    ca: absolute(file['trusted-ca-file']),
    cert: absolute(file['cert-file']),
    key: absolute(file['key-file']),
    aliases,
  }
}

function yamlOf(text: string, path: string): unknown {
  try {
    return parseYaml(text, { maxAliasCount: 0 })
  } catch (error) {
    throw new MeshError('SOURCE_READ', `${path} is not YAML: ${messageOf(error)}`, { cause: error })
  }
}

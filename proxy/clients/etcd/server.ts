/** Which etcd servers there are, and how each is addressed and trusted. */
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import type { ChannelCredentials } from '@grpc/grpc-js'
import { endpointText } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { certificateFault } from './certificate.ts'

/** Files are PEM, by absolute path. Without `ca` the system's authorities count; `cert` and `key` come together. */
export interface EtcdServers {
  readonly endpoints: readonly string[]
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** Addresses to dial for a host name, in place of asking DNS. The certificate must still be for the name. */
  readonly aliases?: ReadonlyMap<string, readonly string[]> | undefined
}

/** One address to dial. */
export interface Server {
  /** As configured, for messages: `https://east.mesh.cilium.io:2379`. */
  readonly url: string
  /** A name or an address. */
  readonly host: string
  readonly port: number
  readonly tls: boolean
  /** The name that the certificate must carry. */
  readonly identity: string
}

/** Every server with all its aliases, in the order given. */
export function serversOf({ endpoints, aliases }: EtcdServers): Server[] {
  return endpoints.flatMap(endpoint => {
    const url = URL.parse(endpoint)
    if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '') {
      throw new MeshError('SOURCE_READ', `"${endpoint}" is no etcd server; write https://HOST:2379`)
    }
    const tls = url.protocol === 'https:'
    const port = url.port === '' ? (tls ? 443 : 80) : Number(url.port)
    const identity = url.hostname.replace(/^\[|\]$/g, '')
    const hosts = aliases?.get(identity) ?? [identity]
    return hosts.map(host => ({ url: endpoint, host, port, tls, identity }))
  })
}

/** As gRPC writes an address to dial. */
export function targetOf({ host, port }: Server): string {
  const family = isIP(host)
  return family === 0 ? `dns:${host}:${port}` : `ipv${family}:${endpointText(host, port)}`
}

type Grpc = typeof import('@grpc/grpc-js')

/** Reads the files anew, since certificates are renewed in place. A fault of ours is told before the server can only hang up. */
export async function credentialsFor(
  server: Server,
  files: EtcdServers,
  grpc: Grpc,
  now: number,
): Promise<ChannelCredentials> {
  if (!server.tls) return grpc.credentials.createInsecure()
  const [ca = null, cert = null, key = null] = await Promise.all([files.ca, files.cert, files.key].map(readPem))
  const fault = cert && files.cert && certificateFault(cert, files.cert, now)
  if (fault) throw new MeshError('SOURCE_READ', fault)
  try {
    return grpc.credentials.createSsl(ca, key, cert, {
      checkServerIdentity: (_host, certificate) => checkServerIdentity(server.identity, certificate),
    })
  } catch (error) {
    throw new MeshError('SOURCE_READ', `${files.cert} and ${files.key} do not go together: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

async function readPem(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path)
  } catch (error) {
    throw new MeshError('SOURCE_READ', `cannot read the certificate file: ${messageOf(error)}`, { cause: error })
  }
}

/** TLS forbids an address as the name that a client asks for, so the check alone gets the address. */
export function nameToAskFor(server: Server): string {
  return isIP(server.identity) === 0 ? server.identity : 'etcd'
}

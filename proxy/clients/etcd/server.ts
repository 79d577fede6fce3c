/** etcd servers: their addresses, names and credentials. */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import type { ChannelCredentials } from '@grpc/grpc-js'
import { endpointText } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { readRegularFile } from '../../model/text/regular-file.ts'
import { certificateFault } from '../certificate.ts'

/** Absolute paths of PEM files. Without `ca`, the system's authorities are trusted. `cert` and `key` belong together. */
export interface EtcdServers {
  readonly endpoints: readonly string[]
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** Addresses to dial for a host name instead of asking DNS. The certificate must still be for the name. */
  readonly aliases?: ReadonlyMap<string, readonly string[]> | undefined
}

/** One address to dial. */
export interface Server {
  /** As configured, for messages: `https://east.mesh.cilium.io:2379`. */
  readonly url: string
  /** A name or an IP address. */
  readonly host: string
  readonly port: number
  readonly tls: boolean
  /** The name in the server's certificate. */
  readonly identity: string
}

/** One entry for each endpoint and alias, in the order given. */
export function serversOf({ endpoints, aliases }: EtcdServers): Server[] {
  return endpoints.flatMap(endpoint => {
    const url = URL.parse(endpoint)
    if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '') {
      throw new MeshError('SOURCE_READ', `"${endpoint}" is not the URL of an etcd server; write https://HOST:2379`)
    }
    const tls = url.protocol === 'https:'
    const port = url.port === '' ? (tls ? 443 : 80) : Number(url.port)
    const identity = url.hostname.replace(/^\[|\]$/g, '')
    const hosts = aliases?.get(identity) ?? [identity]
    return hosts.map(host => ({ url: endpoint, host, port, tls, identity }))
  })
}

/** The address in gRPC's syntax. */
export function targetOf({ host, port }: Server): string {
  const family = isIP(host)
  return family === 0 ? `dns:${host}:${port}` : `ipv${family}:${endpointText(host, port)}`
}

type Grpc = typeof import('@grpc/grpc-js')

/** A server, and what our files for it contain. */
export interface Access {
  readonly server: Server
  readonly files: EtcdServers
  readonly ca?: Buffer | undefined
  readonly cert?: Buffer | undefined
  readonly key?: Buffer | undefined
}

/** Reads the files for each connection, since certificates are renewed in place. Checks ours first: a server only hangs up. */
export async function accessTo(server: Server, files: EtcdServers, now: number): Promise<Access> {
  if (!server.tls) return { server, files }
  const [ca, cert, key] = await Promise.all([files.ca, files.cert, files.key].map(readPem))
  const fault = cert && files.cert && certificateFault(cert, files.cert, now)
  if (fault) throw new MeshError('SOURCE_READ', fault)
  return { server, files, ca, cert, key }
}

/** The same for two that make the same connection: to one address, by one name, with the same authorities and certificate. */
export function identityOf({ server, ca, cert, key }: Access): string {
  const hash = createHash('sha256').update(JSON.stringify(server))
  for (const pem of [ca, cert, key]) hash.update(`|${pem?.length ?? ''}|`).update(pem ?? '')
  return hash.digest('base64')
}

export function credentialsFor({ server, files, ca, cert, key }: Access, grpc: Grpc): ChannelCredentials {
  if (!server.tls) return grpc.credentials.createInsecure()
  try {
    return grpc.credentials.createSsl(ca ?? null, key ?? null, cert ?? null, {
      checkServerIdentity: (_host, certificate) => checkServerIdentity(server.identity, certificate),
    })
  } catch (error) {
    throw new MeshError('SOURCE_READ', `${files.cert} and ${files.key} do not match: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

async function readPem(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  try {
    return await readRegularFile(path)
  } catch (error) {
    throw new MeshError('SOURCE_READ', `cannot read the certificate file: ${messageOf(error)}`, { cause: error })
  }
}

/** SNI must not be an IP address (RFC 6066), so only the certificate check uses the address. */
export function nameToAskFor(server: Server): string {
  return isIP(server.identity) === 0 ? server.identity : 'etcd'
}

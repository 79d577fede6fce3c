/** `starlane mesh doctor`: checks step by step whether a cluster can be read, and stops at the first step that fails. */
import { lookup } from 'node:dns/promises'
import { connect as connectTcp, isIP } from 'node:net'
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls'
import { messageOf } from '../../model/error.ts'
import { readRegularFile } from '../../model/text/regular-file.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { certificateFault } from '../certificate.ts'
import { canaryPrefix, clusterConfigKey, heartbeatKey, prefixOf, type Resource } from '../clustermesh.ts'
import { EtcdClient } from './client.ts'
import { readClientFile } from './client-file.ts'
import { decodeClusterConfig } from './cluster-config.ts'
import { accessTo, type EtcdServers, type Server, serversOf } from './server.ts'

export interface DiagnosisStep {
  /** `files`, `name`, `port`, `certificate`, `user`, `cluster`, `content`. */
  readonly step: string
  readonly isGood: boolean
  /** What was found, where, and how to fix it. */
  readonly text: string
}

export interface DiagnoseParts {
  readonly clock: Clock
  readonly random: Random
}

/** Checks one cluster's client file. Every server is tried; the content is read from the first that answers. */
export async function diagnose(cluster: string, file: string, parts: DiagnoseParts): Promise<DiagnosisStep[]> {
  const findings: DiagnosisStep[] = []
  const step = async <T>(step: string, examine: () => Promise<readonly [text: string, value: T]>) => {
    try {
      const [text, value] = await examine()
      findings.push({ step, isGood: true, text })
      return { value }
    } catch (error) {
      findings.push({ step, isGood: false, text: tame(messageOf(error)) })
      return undefined
    }
  }
  const servers = await step('files', () => files(file, parts.clock))
  if (!servers) return findings
  let content: Server | undefined
  for (const server of serversOf(servers.value)) {
    const { value: host } = (await step('name', () => named(server))) ?? {}
    if (host === undefined || !(await step('port', () => port(host, server)))) continue
    if (server.tls && !(await step('certificate', () => handshake(host, server, servers.value, parts.clock)))) continue
    content ??= server
  }
  if (!content) return findings
  const server = content
  const client = await step('user', async () => {
    const access = await accessTo(server, servers.value, parts.clock.wall())
    const client = await EtcdClient.connect(access, { ...parts, probe: heartbeatKey }).catch(unknownUser)
    return [`etcd cluster ${client.clusterId} accepts our certificate`, client]
  })
  if (!client) return findings
  try {
    if (await step('cluster', () => described(client.value, cluster))) {
      await step('content', () => counted(client.value, cluster))
    }
  } finally {
    client.value.close()
  }
  return findings
}

async function files(file: string, clock: Clock): Promise<[string, EtcdServers]> {
  const servers = await readClientFile(file)
  for (const path of [servers.ca, servers.cert]) {
    const fault = path && certificateFault(await readRegularFile(path), path, clock.wall())
    if (fault) throw new Error(fault)
  }
  if (servers.key !== undefined) await readRegularFile(servers.key)
  return [`${file} names ${servers.endpoints.join(', ')}; its certificates are valid`, servers]
}

/** The address to dial: from an alias, from the URL, or from DNS. */
async function named(server: Server): Promise<[string, string]> {
  const { host } = server
  if (isIP(host) !== 0)
    return [host === server.identity ? `${host} is an address` : `${server.identity} is at ${host}`, host]
  const { address } = await lookup(host)
  return [`${host} resolves to ${address}`, address]
}

const patienceMs = 5000

function port(host: string, server: Server): Promise<[string, true]> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port: server.port, timeout: patienceMs })
    socket.on('connect', () => {
      socket.destroy()
      resolve([`${host}:${server.port} accepts connections`, true])
    })
    socket.on('timeout', () => socket.destroy(new Error('no answer within 5s; is a firewall between?')))
    socket.on('error', error => reject(new Error(`${host}:${server.port}: ${error.message}`)))
  })
}

async function handshake(host: string, server: Server, given: EtcdServers, clock: Clock): Promise<[string, true]> {
  const [ca, cert, key] = await Promise.all(
    [given.ca, given.cert, given.key].map(path => path && readRegularFile(path)),
  )
  const socket = await new Promise<TLSSocket>((resolve, reject) => {
    const tls = connectTls(
      {
        ...{ host, port: server.port, timeout: patienceMs, ALPNProtocols: ['h2'] },
        ...(ca ? { ca } : {}),
        ...(cert && key ? { cert, key } : {}),
        // Nothing is sent over this connection; the certificate is checked below.
        rejectUnauthorized: false,
        ...(isIP(server.identity) === 0 ? { servername: server.identity } : {}),
      },
      () => resolve(tls),
    )
    tls.on('timeout', () => tls.destroy(new Error('the handshake takes longer than 5s')))
    tls.on('error', reject)
  })
  const shown = socket.getPeerX509Certificate()
  socket.destroy()
  const what = `${server.url} shows the certificate "${shown?.subject?.replaceAll('\n', ', ')}"`
  const fault = shown && certificateFault(shown.raw, 'it shows', clock.wall())
  if (fault) throw new Error(`${server.url}: ${fault}`)
  if (!socket.authorized)
    throw new Error(`${what} which ${given.ca ?? 'the system'} does not trust: ${socket.authorizationError}`)
  const mismatch = shown && checkServerIdentity(server.identity, shown.toLegacyObject())
  if (mismatch) throw new Error(`${what} for other names: ${mismatch.message}`)
  return [`${what}, valid until ${shown?.validTo}`, true]
}

async function described(client: EtcdClient, cluster: string): Promise<[string, true]> {
  const key = clusterConfigKey(cluster)
  const entry = await client.get(key)
  if (!entry) throw new Error(`${key} is missing: the cluster has another name, or nobody publishes it`)
  const { id, cached, slicesMode } = decodeClusterConfig(entry.value)
  const heartbeat = await client.get(heartbeatKey)
  const beat = heartbeat ? `last heartbeat ${tame(heartbeat.value.toString())}` : 'there is no heartbeat'
  const from = cached ? 'a KVStoreMesh cache' : 'its own store'
  return [`${cluster} has the id ${id}, writes ${slicesMode || 'services'} into ${from}; ${beat}`, true]
}

/** etcd takes the user name from the client certificate. */
function unknownUser(error: unknown): never {
  const why = messageOf(error)
  if (!why.includes('permission denied')) throw error
  throw new Error(
    `${why}: etcd does not know the user of our certificate; run "starlane mesh init --peer" there with our name`,
  )
}

const counts: readonly Resource[] = ['services', 'endpointslices', 'nodes', 'serviceexports']

async function counted(client: EtcdClient, cluster: string): Promise<[string, true]> {
  const entry = await client.get(clusterConfigKey(cluster))
  const cached = entry ? decodeClusterConfig(entry.value).cached : false
  const canaries = await client.count(canaryPrefix(cluster))
  if (canaries === 0) throw new Error(`${canaryPrefix(cluster)} is empty: the cluster has not written everything yet`)
  const found = await Promise.all(
    counts.map(async what => `${await client.count(prefixOf(what, cluster, cached))} ${what}`),
  )
  return [found.join(', '), true]
}

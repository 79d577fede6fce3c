/** Replacements for resolv.conf, hosts and nsswitch.conf, by which a command resolves the services of the mesh. */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { parseEndpoint } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { ServiceView, Status } from '../../model/views.ts'
import type { Io } from '../terminal/io.ts'
import { type Endpoint, Forwarder } from './forwarder.ts'
import { hostsText } from './hosts.ts'
import type { Cover } from './mounts.ts'

export interface Names {
  readonly covers: readonly Cover[]
  close(): void
}

export interface Asked {
  readonly dns: Status['dns']
  /** The namespace of bare names. */
  readonly namespace: string
  /** Where the files are written; the caller removes it. */
  readonly folder: string
}

/** Names through the DNS responder. Undefined when it does not use port 53 and a forwarder on port 53 cannot be started. */
export async function namesByDns({ dns, namespace, folder }: Asked): Promise<Names | undefined> {
  const target = reachable(dns.address)
  const forwarder = target.port === 53 ? undefined : await Forwarder.open(target)
  if (target.port !== 53 && !forwarder) return undefined
  const covers = [
    resolverCover({ dns, namespace, folder }, forwarder?.address ?? target.address),
    ...lookupCovers(folder),
  ]
  return { covers, close: () => forwarder?.close() }
}

/** resolv.conf with one server, at port 53. */
export function resolverCover({ dns, namespace, folder }: Asked, address: string): Cover {
  const lines = [
    '# written by starlane exec',
    `nameserver ${address}`,
    `search ${namespace}.svc.${dns.domain} svc.${dns.domain} ${dns.domain}`,
    // As in a Pod: names with fewer than five dots are tried with the search list first.
    'options ndots:5',
  ]
  return cover(folder, '/etc/resolv.conf', `${lines.join('\n')}\n`)
}

/**
 * Names through a hosts file that is kept up to date. Programs that send DNS queries themselves do not read it. `services`: those of
 * the running Starlane, as the command shall see them.
 */
export async function namesByHosts(
  { dns, namespace, folder }: Asked,
  services: () => Promise<readonly ServiceView[]>,
  io: Io,
): Promise<Names> {
  const before = readOr('/etc/hosts', '')
  const text = async () => hostsText(before, await services(), dns, namespace)
  let written = await text()
  const hosts = cover(folder, '/etc/hosts', written)
  let closed = false
  let failed = false
  const refresh = async () => {
    try {
      const now = await text()
      if (now !== written && !closed) overwrite(hosts.source, now)
      written = now
      failed = false
    } catch (error) {
      if (!failed && !closed) io.stderr.write(`starlane: cannot update the names: ${messageOf(error)}\n`)
      failed = true
    }
  }
  const stop = io.clock.every(2000, () => void refresh())
  const close = () => {
    closed = true
    stop()
  }
  return { covers: [hosts, ...lookupCovers(folder)], close }
}

/** Where the responder is asked from this machine. */
export function reachable(dns: string): Endpoint {
  const endpoint = parseEndpoint(dns)
  if (!endpoint) throw new MeshError('EXEC_DNS', 'the DNS responder is not listening; see "starlane status"')
  const { address, port } = endpoint
  return { address: address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address, port }
}

/** Disables what would answer before these files: other NSS services, and the nscd cache, which runs outside the namespace. */
function lookupCovers(folder: string): Cover[] {
  const switched = readOr('/etc/nsswitch.conf', '')
  const ours = switched.replace(/^hosts:.*$/m, 'hosts: files dns')
  const cache = '/var/run/nscd/socket'
  return [
    ...(ours === switched ? [] : [cover(folder, '/etc/nsswitch.conf', ours)]),
    ...(existsSync(cache) ? [{ source: '/dev/null', target: cache }] : []),
  ]
}

function cover(folder: string, target: string, text: string): Cover {
  const source = join(folder, target.replaceAll('/', '-').slice(1))
  writeFileSync(source, text)
  return { source, target }
}

/** Writes in place, because the mount is bound to the inode; truncates afterwards, so that the file is never empty. */
function overwrite(path: string, text: string): void {
  const file = openSync(path, 'r+')
  try {
    ftruncateSync(file, writeSync(file, text, 0))
  } finally {
    closeSync(file)
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}

/**
 * Creates the upstreams of the configuration: from addresses, and from `resolv.conf` files, which are read again when they
 * change. Addresses where this responder itself listens are left out.
 */
import { networkInterfaces } from 'node:os'
import { canonicalAddress, isLoopback, parseEndpoint, type SocketAddress } from '../../model/address.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import type { FullDnsOptions } from '../options.ts'
import type { Forwarder, Route } from './forwarder.ts'
import { parseResolvConf } from './resolv-conf.ts'
import { Upstream, type UpstreamParts } from './upstream.ts'

const dnsPort = 53
/** The client times out before more could be tried. */
const maxPerRoute = 15

interface ConfiguredRoute {
  readonly domain: string
  readonly servers: readonly SocketAddress[]
}

export interface UpstreamsParts extends Omit<UpstreamParts, 'maxFails' | 'mixCase' | 'onUp'> {
  /** Calls `changed` when the content of a file changes, until it is stopped. */
  readonly watchFiles?: (paths: readonly string[], changed: () => void) => () => void
}

export class Upstreams {
  readonly #options: FullDnsOptions
  readonly #forwarder: Forwarder
  readonly #parts: UpstreamsParts
  readonly #known = new Map<string, Upstream>()
  #own: SocketAddress | undefined
  #read: readonly ConfiguredRoute[] = []
  #unreadable: readonly Problem[] = []
  #selfProblems: readonly Problem[] = []
  #stop: (() => void) | undefined

  constructor(options: FullDnsOptions, forwarder: Forwarder, parts: UpstreamsParts) {
    this.#options = options
    this.#forwarder = forwarder
    this.#parts = parts
  }

  /** Reads the files. Separate from `start`, so that no query arrives between the bind and the first read. */
  async prepare(): Promise<void> {
    const lists: [string, readonly string[]][] = [['', this.#options.upstream], ...Object.entries(this.#options.routes)]
    const problems: Problem[] = []
    this.#read = await Promise.all(
      lists.map(async ([domain, entries]): Promise<ConfiguredRoute> => {
        const servers = await Promise.all(entries.map(entry => serversOf(entry, problems)))
        return { domain: normalDomain(domain), servers: servers.flat() }
      }),
    )
    this.#unreadable = problems
  }

  /** Starts forwarding to all but `own`, the address of this responder. */
  start(own: SocketAddress): void {
    this.#own = own
    this.#apply()
    const files = this.#files()
    if (files.length === 0) return
    this.#stop = this.#parts.watchFiles?.(files, () => void this.#reload())
    // They may have changed since they were read.
    void this.#reload()
  }

  problems(): readonly Problem[] {
    return [...this.#unreadable, ...this.#selfProblems]
  }

  close(): void {
    this.#stop?.()
    this.#stop = undefined
    for (const upstream of this.#known.values()) upstream.close()
  }

  async #reload(): Promise<void> {
    await this.prepare()
    if (this.#stop) this.#apply()
  }

  #apply(): void {
    const selves = new Set<string>()
    const routes = this.#read.map(({ domain, servers }): Route => {
      const others = servers.filter(server => {
        if (!this.#isOwn(server)) return true
        selves.add(server.address)
        return false
      })
      const upstreams = new Set(others.slice(0, maxPerRoute).map(server => this.#upstream(server)))
      return { domain, upstreams: [...upstreams] }
    })
    this.#selfProblems = [...selves].map(address =>
      problem(address, 'is the address of Starlane itself; set dns.upstream to the resolvers behind it'),
    )
    // Names of a domain with its own resolvers never go to others, even while it has none.
    this.#forwarder.routes = routes.filter(({ domain, upstreams }) => domain !== '' || upstreams.length > 0)
    this.#retire()
  }

  /** The same upstream for the same address, so that its health survives a change of the file. */
  #upstream(server: SocketAddress): Upstream {
    const key = `${server.address} ${server.port}`
    const known = this.#known.get(key)
    if (known) return known
    const { maxFails, randomCase } = this.#options.forward
    // Datagrams with a loopback source do not come from outside, so nobody can forge the reply of such a server.
    const mixCase = randomCase === 'always' || (randomCase === 'auto' && !isLoopback(server.address))
    const onUp = () => this.#forwarder.bumpGeneration()
    const upstream = new Upstream(server, { ...this.#parts, maxFails, mixCase, onUp })
    this.#known.set(key, upstream)
    void upstream.checkLoop()
    return upstream
  }

  #retire(): void {
    const used = new Set(this.#forwarder.upstreams)
    for (const [key, upstream] of this.#known) {
      if (used.has(upstream)) continue
      upstream.close()
      this.#known.delete(key)
    }
  }

  #isOwn(server: SocketAddress): boolean {
    const own = this.#own
    if (!own || server.port !== own.port) return false
    const isAny = own.address === '0.0.0.0' || own.address === '::'
    return server.address === own.address || (isAny && ownAddresses().has(server.address))
  }

  #files(): string[] {
    const entries = [...this.#options.upstream, ...Object.values(this.#options.routes).flat()]
    return [...new Set(entries.filter(entry => canonicalAddress(entry) === undefined && !parseEndpoint(entry)))]
  }
}

/** The addresses of an entry: itself, or the nameservers of the file; adds a problem when it cannot be read. */
async function serversOf(entry: string, problems: Problem[]): Promise<SocketAddress[]> {
  const address = canonicalAddress(entry)
  if (address !== undefined) return [{ address, port: dnsPort }]
  const server = parseEndpoint(entry)
  if (server) return [server]
  try {
    const { nameservers } = parseResolvConf(await readRegularText(entry))
    if (nameservers.length === 0)
      problems.push(problem(entry, 'has no nameserver line; add one, or give addresses in dns.upstream'))
    return nameservers.map(nameserver => ({ address: nameserver, port: dnsPort }))
  } catch (error) {
    problems.push(problem(entry, `cannot be read (${messageOf(error)}); give an address, or the path of a resolv.conf`))
    return []
  }
}

function normalDomain(domain: string): string {
  return domain.toLowerCase().replace(/^\.|\.$/g, '')
}

function problem(where: string, message: string): Problem {
  return { code: 'DNS_UPSTREAM', where, message }
}

function ownAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])
  return new Set(all.flatMap(({ address }) => canonicalAddress(address) ?? []))
}

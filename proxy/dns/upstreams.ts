/**
 * From the words of the configuration to upstreams: addresses as they are, `resolv.conf` files read and read again when
 * they change. An upstream that is this responder itself is left out, since it would only ask us.
 */
import { readFile, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { canonicalAddress, parseEndpoint } from '../model/address.ts'
import { messageOf, type Problem } from '../model/error.ts'
import type { Forwarder, Route } from './forwarder.ts'
import type { Settled } from './options.ts'
import { parseResolvConf } from './resolv-conf.ts'
import type { Endpoint } from './udp.ts'
import { Upstream, type UpstreamParts } from './upstream.ts'

const dnsPort = 53
const rereadMs = 5000
/** More in one list are never reached before the client gives up. */
const mostPerRoute = 15

export class Upstreams {
  readonly #options: Settled
  readonly #forwarder: Forwarder
  readonly #parts: Omit<UpstreamParts, 'maxFails'>
  readonly #known = new Map<string, Upstream>()
  #own: Endpoint | undefined
  #problems: Problem[] = []
  #signature = ''
  #stop: (() => void) | undefined

  constructor(options: Settled, forwarder: Forwarder, parts: Omit<UpstreamParts, 'maxFails'>) {
    this.#options = options
    this.#forwarder = forwarder
    this.#parts = parts
  }

  async start(own: Endpoint): Promise<void> {
    this.#own = own
    await this.#load()
    if (this.#files().length === 0) return
    this.#stop = this.#parts.clock.every(rereadMs, () => void this.#reload())
  }

  problems(): readonly Problem[] {
    return this.#problems
  }

  close(): void {
    this.#stop?.()
    for (const upstream of this.#known.values()) upstream.close()
  }

  async #reload(): Promise<void> {
    if ((await this.#stamp()) !== this.#signature) await this.#load()
  }

  async #load(): Promise<void> {
    this.#signature = await this.#stamp()
    const problems: Problem[] = []
    const lists: [string, readonly string[]][] = [['', this.#options.upstream], ...Object.entries(this.#options.routes)]
    const routes: Route[] = []
    for (const [domain, entries] of lists) {
      const endpoints = (await Promise.all(entries.map(entry => this.#read(entry, problems)))).flat()
      const upstreams = [...new Set(endpoints.filter(e => !this.#isOwn(e, problems)).map(e => this.#upstream(e)))]
      if (upstreams.length > 0) routes.push({ domain: normal(domain), upstreams: upstreams.slice(0, mostPerRoute) })
    }
    this.#problems = problems
    this.#forwarder.routes = routes
    this.#retire()
  }

  /** The same upstream for the same address, so that what is known of its health outlives a change of the file. */
  #upstream(endpoint: Endpoint): Upstream {
    const key = `${endpoint.address} ${endpoint.port}`
    const known = this.#known.get(key)
    if (known) return known
    const upstream = new Upstream(endpoint, { ...this.#parts, maxFails: this.#options.forward.maxFails })
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

  async #read(entry: string, problems: Problem[]): Promise<Endpoint[]> {
    const address = canonicalAddress(entry)
    if (address !== undefined) return [{ address, port: dnsPort }]
    const endpoint = parseEndpoint(entry)
    if (endpoint) return [endpoint]
    try {
      const { nameservers } = parseResolvConf(await readFile(entry, 'utf8'))
      if (nameservers.length === 0)
        problems.push(problem(entry, 'names no nameserver; add one, or give addresses in dns.upstream'))
      return nameservers.map(nameserver => ({ address: nameserver, port: dnsPort }))
    } catch (error) {
      problems.push(
        problem(entry, `cannot be read (${messageOf(error)}); give an address, or the path of a resolv.conf`),
      )
      return []
    }
  }

  #isOwn(endpoint: Endpoint, problems: Problem[]): boolean {
    const own = this.#own
    if (!own || endpoint.port !== own.port) return false
    const isAny = own.address === '0.0.0.0' || own.address === '::'
    if (endpoint.address !== own.address && !(isAny && ownAddresses().has(endpoint.address))) return false
    problems.push(
      problem(endpoint.address, 'is where Starlane itself answers; give the resolvers behind it in dns.upstream'),
    )
    return true
  }

  #files(): string[] {
    const entries = [...this.#options.upstream, ...Object.values(this.#options.routes).flat()]
    return [...new Set(entries.filter(entry => canonicalAddress(entry) === undefined && !parseEndpoint(entry)))]
  }

  async #stamp(): Promise<string> {
    const states = this.#files().map(async file => {
      const state = await stat(file).catch(() => undefined)
      return `${file} ${state?.mtimeMs} ${state?.size} ${state?.ino}`
    })
    return (await Promise.all(states)).join('\n')
  }
}

function normal(domain: string): string {
  return domain.toLowerCase().replace(/^\.|\.$/g, '')
}

function problem(where: string, message: string): Problem {
  return { code: 'DNS_UPSTREAM', where, message }
}

function ownAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])
  return new Set(all.flatMap(({ address }) => canonicalAddress(address) ?? []))
}

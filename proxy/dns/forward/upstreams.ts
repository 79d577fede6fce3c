/**
 * From the words of the configuration to upstreams: addresses as they are, `resolv.conf` files read and read again when
 * they change. An upstream that is this responder itself is left out, since it would only ask us.
 */
import { readFile, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { canonicalAddress, parseEndpoint } from '../../model/address.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import type { Settled } from '../options.ts'
import type { Endpoint } from '../server/udp.ts'
import type { Forwarder, Route } from './forwarder.ts'
import { parseResolvConf } from './resolv-conf.ts'
import { Upstream, type UpstreamParts } from './upstream.ts'

const dnsPort = 53
const rereadMs = 5000
/** More in one list are never reached before the client gives up. */
const mostPerRoute = 15

interface Listed {
  readonly domain: string
  readonly endpoints: readonly Endpoint[]
}

export class Upstreams {
  readonly #options: Settled
  readonly #forwarder: Forwarder
  readonly #parts: Omit<UpstreamParts, 'maxFails' | 'onUp'>
  readonly #known = new Map<string, Upstream>()
  #own: Endpoint | undefined
  #read: readonly Listed[] = []
  #unreadable: readonly Problem[] = []
  #selves: readonly Problem[] = []
  #signature = ''
  #stop: (() => void) | undefined

  constructor(options: Settled, forwarder: Forwarder, parts: Omit<UpstreamParts, 'maxFails' | 'onUp'>) {
    this.#options = options
    this.#forwarder = forwarder
    this.#parts = parts
  }

  /** Reads the files. Apart from `start`, so that nobody asks between the bind and the first reading. */
  async prepare(): Promise<void> {
    this.#signature = await this.#stamp()
    const lists: [string, readonly string[]][] = [['', this.#options.upstream], ...Object.entries(this.#options.routes)]
    const problems: Problem[] = []
    this.#read = await Promise.all(
      lists.map(async ([domain, entries]): Promise<Listed> => {
        const endpoints = await Promise.all(entries.map(entry => endpointsOf(entry, problems)))
        return { domain: normal(domain), endpoints: endpoints.flat() }
      }),
    )
    this.#unreadable = problems
  }

  /** Begins to forward, to all but `own`. */
  start(own: Endpoint): void {
    this.#own = own
    this.#apply()
    if (this.#files().length === 0) return
    this.#stop = this.#parts.clock.every(rereadMs, () => void this.#reload())
  }

  problems(): readonly Problem[] {
    return [...this.#unreadable, ...this.#selves]
  }

  close(): void {
    this.#stop?.()
    this.#stop = undefined
    for (const upstream of this.#known.values()) upstream.close()
  }

  async #reload(): Promise<void> {
    if ((await this.#stamp()) === this.#signature) return
    await this.prepare()
    if (this.#stop) this.#apply()
  }

  #apply(): void {
    const selves = new Set<string>()
    const routes = this.#read.map(({ domain, endpoints }): Route => {
      const others = endpoints.filter(endpoint => {
        if (!this.#isOwn(endpoint)) return true
        selves.add(endpoint.address)
        return false
      })
      const upstreams = new Set(others.slice(0, mostPerRoute).map(endpoint => this.#upstream(endpoint)))
      return { domain, upstreams: [...upstreams] }
    })
    this.#selves = [...selves].map(address =>
      problem(address, 'is where Starlane itself answers; give the resolvers behind it in dns.upstream'),
    )
    // A domain with resolvers of its own is never asked of others, not even while it has none.
    this.#forwarder.routes = routes.filter(({ domain, upstreams }) => domain !== '' || upstreams.length > 0)
    this.#retire()
  }

  /** The same upstream for the same address, so that what is known of its health outlives a change of the file. */
  #upstream(endpoint: Endpoint): Upstream {
    const key = `${endpoint.address} ${endpoint.port}`
    const known = this.#known.get(key)
    if (known) return known
    const { maxFails } = this.#options.forward
    const upstream = new Upstream(endpoint, { ...this.#parts, maxFails, onUp: () => this.#forwarder.improved() })
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

  #isOwn(endpoint: Endpoint): boolean {
    const own = this.#own
    if (!own || endpoint.port !== own.port) return false
    const isAny = own.address === '0.0.0.0' || own.address === '::'
    return endpoint.address === own.address || (isAny && ownAddresses().has(endpoint.address))
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

/** An address as it is, or what a file names; what cannot be read is reported. */
async function endpointsOf(entry: string, problems: Problem[]): Promise<Endpoint[]> {
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
    problems.push(problem(entry, `cannot be read (${messageOf(error)}); give an address, or the path of a resolv.conf`))
    return []
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

/** Tells one peer the health of the backends that it may reach: each backend is checked once, here, and not by every client. */
import type { Duplex } from 'node:stream'
import { endpointText } from '../../model/address.ts'
import type { Backend, Health } from '../../model/backend.ts'
import type { Flow } from '../../model/flow.ts'
import type { ServiceKey } from '../../model/service.ts'
import type { ServerStream } from '../server/door.ts'
import type { HealthLine, ToldHealth } from '../wire/health-lines.ts'
import type { GatewayContext } from './context.ts'
import type { PeerClient } from './flow.ts'

export class HealthFeed {
  readonly #context: GatewayContext
  readonly #stream: Duplex
  readonly #client: PeerClient
  /** What the peer knows, by service. */
  readonly #told = new Map<ServiceKey, ReadonlyMap<string, Health>>()
  readonly #changed = new Set<ServiceKey>()
  readonly #unwatch: () => void
  #isPlanned = false
  #isOver = false

  /** `left` is called once the peer is told no more. */
  constructor(context: GatewayContext, request: ServerStream, client: PeerClient, left: () => void) {
    this.#context = context
    // What any client of this cluster may reach: the unspecified address is that of no client.
    this.#client = { ...client, address: '0.0.0.0' }
    request.respond({ ':status': '200', 'content-type': 'application/x-ndjson' })
    const stream = request.bytes()
    this.#stream = stream
    stream.resume()
    stream.on('close', () => {
      this.close()
      left()
    })
    stream.on('drain', () => this.#plan())
    this.#unwatch = context.offers.onChange(keys => {
      for (const key of keys) this.#changed.add(key)
      this.#plan()
    })
    for (const key of context.offers.services()) this.#changed.add(key)
    this.#tell(true)
  }

  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#unwatch()
    if (!this.#stream.destroyed) this.#stream.end()
  }

  /** One line for all changes of a turn; while the peer does not read, they wait as names of services. */
  #plan(): void {
    if (this.#isPlanned || this.#isOver || this.#changed.size === 0) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      if (!this.#isOver && !this.#stream.writableNeedDrain) this.#tell(false)
    })
  }

  #tell(isFirst: boolean): void {
    const line: Record<string, ToldHealth> = {}
    for (const key of this.#changed) {
      const before = this.#told.get(key)
      const now = this.#visible(key)
      for (const endpoint of before?.keys() ?? []) if (!now.has(endpoint)) line[endpoint] = 'gone'
      for (const [endpoint, health] of now) if (before?.get(endpoint) !== health) line[endpoint] = health
      if (now.size > 0) this.#told.set(key, now)
      else this.#told.delete(key)
    }
    this.#changed.clear()
    // An endpoint that one service has lost may be another's.
    for (const [endpoint, told] of Object.entries(line)) {
      const other = told === 'gone' ? this.#toldOf(endpoint) : undefined
      if (other) line[endpoint] = other
    }
    if (isFirst || Object.keys(line).length > 0) this.#stream.write(`${JSON.stringify(line satisfies HealthLine)}\n`)
  }

  #toldOf(endpoint: string): Health | undefined {
    for (const healths of this.#told.values()) {
      const health = healths.get(endpoint)
      if (health) return health
    }
    return undefined
  }

  /** The backends of a service that the chain lets this peer have, whatever their health. */
  #visible(key: ServiceKey): Map<string, Health> {
    const service = this.#context.offers.service(key)
    const found = new Map<string, Health>()
    if (!service || this.#context.chooser.admit(this.#client, service)) return found
    for (const backend of service.backends) {
      if (backend.remote || backend.port === 0) continue
      if (this.#mayHave(backend)) found.set(nameOf(backend), backend.health)
    }
    return found
  }

  #mayHave(backend: Backend): boolean {
    const { offers, chooser } = this.#context
    return offers.find(backend, backend.protocol).some(({ service, frontend }) => {
      const flow: Flow = { id: 0, client: this.#client, service, frontend, tried: [] }
      return chooser.choose(flow).backend !== undefined
    })
  }
}

function nameOf({ address, port, protocol }: Backend): string {
  return `${endpointText(address, port)}/${protocol}`
}

/** An engine with one service in front of given backends, a clock moved by hand and a chooser that records all calls. */
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { Engine, EngineOptions, EngineParts, Listener } from '../../../proxy/dataplane/engine.ts'
import type { Protocol } from '../../../proxy/model/address.ts'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import type { LogFields } from '../../../proxy/model/log.ts'
import type { Frontend, GlobalService } from '../../../proxy/model/service.ts'
import type { Passed } from '../../../proxy/model/sockets/passing.ts'
import { client, clientOf, freePort } from '../../support/backend.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { openSockets } from '../../support/faults.ts'
import { clusterService, globalService } from '../../support/model.ts'

export type CreateEngine = (parts: EngineParts) => Engine

/** Where a process of its own finds an engine. */
export interface EngineInChild {
  readonly source: URL
  readonly export: string
}

export interface EngineUnderTest extends EngineInChild {
  readonly create: CreateEngine
  /** What becomes of a byte sent with MSG_OOB; those around it always arrive. */
  readonly urgentBytes: 'kept' | 'lost'
  /** What one flow that is not read may hold in this process; by default 1 MiB. */
  readonly holds?: number
  /** How many bytes four transfers may move during one round trip of a small message; by default 6 MiB. */
  readonly perRoundTrip?: number
  /** False where the ways of its UDP sessions end with it; by default they stay with a process that goes on. */
  readonly linksOutlive?: boolean
  /** False where something else in its process opens sockets for each flow. */
  readonly alone?: boolean
  /** Whether clients can wait to be accepted until there is a descriptor for their dial. */
  readonly accepts: 'when it can' | 'always'
}

export const plainOptions: EngineOptions = {
  dial: { timeoutMs: 1000, attempts: 3, budgetMs: 5000 },
  idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
  drainMs: 30_000,
  firstByteMs: 0,
  limits: { connections: 10_000, udpSessions: 10_000 },
}

export interface Given {
  readonly backends: Backends
  readonly protocol?: Protocol
  readonly ip?: string
  /** One that is free, unless a test has to know it before. */
  readonly port?: number
  /** The socket of another engine. */
  readonly passed?: Passed
  readonly options?: { readonly [K in keyof EngineOptions]?: Partial<EngineOptions[K]> | EngineOptions[K] }
}

export class Rig {
  readonly clock = new FakeClock()
  readonly chooser = new FakeChooser()
  readonly logged: { event: string; fields: LogFields | undefined }[] = []
  readonly engine: Engine
  readonly ip: string
  readonly port: number
  readonly protocol: Protocol
  readonly baseline = openSockets()
  /** Keys of the backends that flows got bytes from, as reported. */
  readonly heard: string[] = []
  /** Keys of the backends that were reported to answer nothing. */
  readonly mute: string[] = []
  listener!: Listener
  readonly #t: Test

  private constructor(t: Test, create: CreateEngine, given: Given, ip: string, port: number) {
    const note = (event: string, fields?: LogFields) => void this.logged.push({ event, fields })
    const options = Object.fromEntries(
      Object.entries(plainOptions).map(([key, plain]) => {
        const own = given.options?.[key as keyof EngineOptions]
        return [key, typeof own === 'object' ? { ...(plain as object), ...own } : (own ?? plain)]
      }),
    ) as unknown as EngineOptions
    this.#t = t
    this.ip = ip
    this.port = port
    this.protocol = given.protocol ?? 'TCP'
    this.engine = create({
      chooser: this.chooser,
      onHeard: ({ key }) => void this.heard.push(key),
      onMute: (_flow, { key }) => void this.mute.push(key),
      clock: this.clock,
      log: { debug: note, info: note, warn: note, error: note },
      options,
    })
  }

  /** The engine is destroyed at the end of the test. */
  static async start(t: Test, create: CreateEngine, given: Given): Promise<Rig> {
    const ip = given.ip ?? '127.77.0.1'
    const rig = new Rig(t, create, given, ip, given.port ?? (await freePort(ip)))
    t.teardown(() => rig.engine.destroy())
    rig.listener = await rig.engine.listen(...rig.service(given.backends), undefined, given.passed)
    return rig
  }

  /** The frontend over other backends, for `update`. */
  service(backends: Backends, name = 'rebel-base'): [Frontend, GlobalService] {
    const service = globalService({
      local: clusterService({
        name,
        clusterIPs: [this.ip],
        ports: [{ name: '', protocol: this.protocol, port: this.port }],
      }),
      backends,
    })
    return [service.frontends[0] as Frontend, service]
  }

  /** A client that is connected to a backend. */
  async client(): Promise<Socket> {
    const socket = await client(this.#t, this)
    const port = socket.localPort
    await eventually(() => {
      const story = this.chooser.stories.findLast(({ flow }) => flow.client.port === port)
      if (story?.attempts.at(-1)?.result?.outcome !== 'connected') throw new Error('no backend yet')
    })
    return socket
  }

  knock(): Socket {
    return clientOf(this.#t, this)
  }

  /** Asks like a client that sends its request, its FIN, and waits. */
  async ask(text = ''): Promise<string> {
    const socket = this.knock()
    let answer = ''
    socket.on('data', chunk => {
      answer += chunk
    })
    socket.end(text)
    // Not events.once(): a refusal is a reset, and it would throw.
    await new Promise(resolve => socket.once('end', resolve).once('close', resolve))
    return answer
  }

  /** Waits until so many attempts have begun. */
  async attempts(count: number): Promise<void> {
    await eventually(() => {
      if (this.chooser.tried.length < count) throw new Error(`${this.chooser.tried.length} of ${count} attempts`)
    })
  }

  /** Waits until the latest attempt has connected: time that is moved by hand meanwhile would end it. */
  async connected(): Promise<void> {
    await eventually(() => {
      const outcome = this.chooser.outcomes.at(-1)
      if (outcome !== 'connected') throw new Error(`the latest attempt is ${outcome ?? 'under way'}`)
    })
  }

  /** Waits until every flow has ended, and checks that the calls kept the laws of `FlowObserver`. */
  async settled(): Promise<{ served: number; refused: number; failed: number }> {
    await eventually(() => {
      const { connections, udpSessions } = this.engine.stats()
      if (connections + udpSessions > 0) throw new Error(`${connections} connections, ${udpSessions} sessions open`)
      if (this.chooser.tally().open > 0) throw new Error(`${this.chooser.tally().open} flows without an end`)
    })
    this.#t.same(this.chooser.broken, [], 'the laws hold')
    const { open, ...tally } = this.chooser.tally()
    return tally
  }
}

export function keysOf(...backends: Backend[]): string[] {
  return backends.map(backend => backend.key)
}

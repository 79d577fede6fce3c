/** Follows the health of a cluster's backends, as one of its gateways tells it. Another gateway is asked when that one is gone. */
import type { Duplex } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../../model/time/clock.ts'
import { HealthReader, healthPath, type ToldHealth } from '../wire/health-lines.ts'
import type { Asking, Route } from './route.ts'

/** How long to wait before a gateway is asked again that does not tell, or that has stopped telling. */
const retryMs = 1000
/** A gateway that has no such answer, as a ztunnel, is asked again after this. */
const unknownMs = 60_000

export interface HealthEvents {
  /** Verdicts by `ADDRESS:PORT/PROTOCOL`; `isWhole`: those that are not named are not served. */
  told(line: ReadonlyMap<string, ToldHealth>, isWhole: boolean): void
  /** Nobody tells any more. `canTell` is false where the gateway cannot. */
  silent(canTell: boolean): void
}

export class HealthFollower {
  readonly #route: Route
  readonly #authority: string
  readonly #clock: Clock
  readonly #events: HealthEvents
  #stop: () => void = () => {}
  #stream: Duplex | undefined
  #closed = false

  constructor(route: Route, authority: string, clock: Clock, events: HealthEvents) {
    this.#route = route
    this.#authority = authority
    this.#clock = clock
    this.#events = events
    this.#ask()
  }

  close(): void {
    this.#closed = true
    this.#stop()
    this.#stream?.destroy()
  }

  #ask(): void {
    if (this.#closed) return
    const headers = {
      ':method': 'GET',
      ':scheme': 'https',
      ':authority': this.#authority,
      ':path': healthPath,
    }
    const asking: Asking = {
      answered: stream => this.#follow(stream.bytes()),
      failed: error => {
        // An answer that is none of ours, or no way to a gateway.
        const cannot = 'code' in error && error.code === 'EACCES'
        this.#events.silent(!cannot)
        this.#later(cannot ? unknownMs : retryMs)
      },
    }
    this.#stop = this.#route.request(() => headers, asking, false)
  }

  #follow(stream: Duplex): void {
    this.#stream = stream
    stream.end()
    const decoder = new StringDecoder('utf8')
    let isWhole = true
    const reader = new HealthReader(line => {
      this.#events.told(new Map(Object.entries(line)), isWhole)
      isWhole = false
    })
    stream.on('data', (chunk: Buffer) => {
      if (!reader.push(decoder.write(chunk))) stream.destroy()
    })
    stream.once('close', () => {
      this.#stream = undefined
      if (this.#closed) return
      this.#events.silent(true)
      this.#later(retryMs)
    })
  }

  #later(ms: number): void {
    if (!this.#closed) this.#stop = this.#clock.after(ms, () => this.#ask())
  }
}

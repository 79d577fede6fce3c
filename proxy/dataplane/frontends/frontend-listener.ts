/** The listener of one frontend, opened again and again until that succeeds. */
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import { doubled } from '../../model/time/backoff.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Engine, Listener } from '../engine.ts'

const retry = { firstMs: 1000, longestMs: 30_000 }

export interface FrontendListenerParts {
  readonly engine: Engine
  readonly clock: Clock
  readonly log: Log
}

export class FrontendListener {
  readonly key: string
  readonly ip: string
  service: GlobalService
  /** Why it is not open; undefined while it is. */
  problem: Problem | undefined
  readonly #parts: FrontendListenerParts
  #frontend: Frontend
  #listener: Listener | undefined
  #attempt: Promise<void> | undefined
  #retryMs: number | undefined
  #cancelRetry: (() => void) | undefined
  #closed = false

  constructor(parts: FrontendListenerParts, frontend: Frontend, service: GlobalService) {
    this.key = frontend.key
    this.ip = frontend.ip
    this.service = service
    this.#parts = parts
    this.#frontend = frontend
  }

  get listening(): boolean {
    return this.#listener !== undefined
  }

  /** Tries once, and later again by itself when that fails. Never rejects. */
  open(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#attempt = this.#listen()
    return this.#attempt
  }

  update(frontend: Frontend, service: GlobalService): void {
    this.#frontend = frontend
    this.service = service
    this.#listener?.update(frontend, service)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelRetry?.()
    if (!this.#listener) await this.#attempt
    await this.#listener?.close()
    this.#listener = undefined
  }

  async #listen(): Promise<void> {
    try {
      const listener = await this.#parts.engine.listen(this.#frontend, this.service)
      listener.update(this.#frontend, this.service) // it may have changed while the socket was bound
      this.#listener = listener
      this.#opened()
    } catch (error) {
      this.#failed(error)
    }
  }

  #opened(): void {
    if (this.problem) this.#parts.log.info('listener.open', { frontend: this.key, service: this.service.key })
    this.problem = undefined
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    const code = error instanceof MeshError ? error.code : 'LISTEN'
    const message = messageOf(error)
    if (message !== this.problem?.message) {
      this.#parts.log.error('listener.failed', { frontend: this.key, service: this.service.key, why: message })
    }
    this.problem = { code, where: this.key, message }
    this.#retryMs = doubled(this.#retryMs, retry)
    this.#cancelRetry = this.#parts.clock.after(this.#retryMs, () => void this.open())
  }
}

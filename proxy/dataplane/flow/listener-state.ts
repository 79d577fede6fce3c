/** A listener's frontend and service as they are now; new flows and new attempts go by them. */
import { MeshError } from '../../model/error.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import type { Listener } from '../engine.ts'

export abstract class ListenerState implements Listener {
  frontend: Frontend
  service: GlobalService
  readonly #onClose: (listener: ListenerState) => void
  #freed: Promise<void> | undefined
  #closed = false

  /** `onClose` is called once, when the listener begins to close. */
  constructor(frontend: Frontend, service: GlobalService, onClose: (listener: ListenerState) => void) {
    this.frontend = frontend
    this.service = service
    this.#onClose = onClose
  }

  get holdsSessions(): boolean {
    return false
  }

  /** Accepts nothing more: it is closed or paused. */
  get closed(): boolean {
    return this.#freed !== undefined
  }

  update(frontend: Frontend, service: GlobalService): void {
    this.frontend = frontend
    this.service = service
  }

  /** Resolves when the address is free. */
  pause(): Promise<void> {
    this.#freed ??= this.free()
    return this.#freed
  }

  /** Resolves when the address is free. */
  close(): Promise<void> {
    const freed = this.pause()
    if (!this.#closed) {
      this.#closed = true
      this.#onClose(this)
    }
    return freed
  }

  async pass(): Promise<Passed> {
    if (this.#freed) throw new MeshError('STATE', `${this.frontend.key} is closed: there is no socket to pass`)
    const passed = await this.give()
    this.#freed = Promise.resolve()
    return passed
  }

  /** Gives the socket away, with what belongs to it, and reads no more from it. */
  protected abstract give(): Promise<Passed>

  /** Closes the socket. Called once. */
  protected abstract free(): Promise<void>
}

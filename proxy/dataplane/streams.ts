/** The engine on node:net and node:dgram: runs everywhere, needs no privileges, and defines how any engine behaves. */
import type { Frontend, GlobalService } from '../model/service.ts'
import { TcpListener } from './accept.ts'
import type { Carrier, TcpListening, TcpSide } from './carrier.ts'
import type { Engine, EngineParts } from './engine.ts'
import { Keeper } from './keeper.ts'
import { Connection } from './tcp.ts'

export function createStreamsEngine(parts: EngineParts): Engine {
  return new Keeper('streams', parts, carrier => new StreamsTcp(carrier))
}

class StreamsTcp implements TcpSide {
  readonly #carrier: Carrier

  constructor(carrier: Carrier) {
    this.#carrier = carrier
  }

  listen(frontend: Frontend, service: GlobalService, onClose: (listener: TcpListening) => void): Promise<TcpListening> {
    return TcpListener.open(this.#carrier, frontend, service, onClose)
  }

  /** One look at every connection instead of a timer for each: nothing is paid when bytes pass. */
  sweep(now: number): void {
    for (const connection of this.#carrier.connections) if (connection instanceof Connection) connection.tick(now)
  }

  destroy(): void {}
}

/** The engine on node:net and node:dgram: runs everywhere, needs no privileges, and defines how any engine behaves. */
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Engine, EngineParts, Listener } from '../engine.ts'
import { EngineCore } from '../flow/engine-core.ts'
import type { FlowContext, TcpListening, Transport } from '../flow/flow-context.ts'
import { Connection } from './tcp-connection.ts'
import { TcpListener } from './tcp-listener.ts'
import { UdpListener } from './udp-listener.ts'
import { Session } from './udp-session.ts'

export function createStreamsEngine(parts: EngineParts): Engine {
  return new EngineCore('streams', parts, context => new Streams(context))
}

class Streams implements Transport {
  readonly #context: FlowContext

  constructor(context: FlowContext) {
    this.#context = context
  }

  listenTcp(
    frontend: Frontend,
    service: GlobalService,
    onClose: (listener: TcpListening) => void,
  ): Promise<TcpListening> {
    return TcpListener.open(this.#context, frontend, service, onClose)
  }

  listenUdp(frontend: Frontend, service: GlobalService, onClose: (listener: Listener) => void): Promise<Listener> {
    return UdpListener.open(this.#context, frontend, service, onClose)
  }

  /** One look at every flow instead of a timer for each: nothing is paid when bytes pass. */
  sweep(now: number): void {
    for (const connection of this.#context.connections) if (connection instanceof Connection) connection.tick(now)
    for (const session of this.#context.sessions) if (session instanceof Session) session.tick(now)
  }

  destroy(): void {}
}

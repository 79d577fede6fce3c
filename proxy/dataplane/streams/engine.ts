/** The engine on node:net and node:dgram: runs everywhere, needs no privileges, and defines how any engine behaves. */

import { keepPagesForSockets } from '../../model/program/heap.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import type { Engine, EngineParts } from '../engine.ts'
import { EngineCore } from '../flow/engine-core.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import type { OnClose, Transport } from '../flow/transport.ts'
import type { UdpFrontend } from '../flow/udp-frontend.ts'
import { Buffers } from './buffers.ts'
import type { StreamsContext } from './streams-context.ts'
import { TcpListener } from './tcp-listener.ts'
import { Turns } from './turns.ts'
import { UdpListener } from './udp-listener.ts'

export function createStreamsEngine(parts: EngineParts): Engine {
  return new EngineCore('streams', parts, context => new StreamsTransport(context))
}

class StreamsTransport implements Transport, StreamsContext {
  readonly flows: FlowContext
  readonly buffers = new Buffers()
  readonly turns = new Turns()

  constructor(flows: FlowContext) {
    this.flows = flows
    keepPagesForSockets()
  }

  listenTcp(frontend: Frontend, service: GlobalService, onClose: OnClose, passed?: Passed): Promise<ListenerState> {
    return TcpListener.open(this, frontend, service, onClose, passed)
  }

  listenUdp(frontend: Frontend, service: GlobalService, onClose: OnClose, passed?: Passed): Promise<UdpFrontend> {
    return UdpListener.open(this.flows, frontend, service, onClose, passed)
  }

  /** One look at every flow instead of a timer for each, so that bytes that pass cost nothing here. */
  sweep(now: number): void {
    for (const connection of this.flows.connections) connection.tick(now)
    for (const session of this.flows.sessions) session.tick(now)
  }

  configure(): void {}

  destroy(): void {}
}

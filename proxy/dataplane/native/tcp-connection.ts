/** The bytes of one TCP connection, carried by the pump: commands to it, named by slot and generation. */
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import { TcpConnection } from '../flow/tcp-connection.ts'
import { addressBytes, impossibleAddress } from './address.ts'
import type { PumpContext } from './pump-context.ts'
import { Command, type Rings } from './rings.ts'

export class NativeConnection extends TcpConnection {
  readonly #rings: Rings
  readonly #slot: number
  readonly #generation: number

  constructor(
    { flows, rings }: PumpContext,
    listener: ListenerState,
    client: Client,
    slot: number,
    generation: number,
  ) {
    super(flows, listener, client)
    this.#rings = rings
    this.#slot = slot
    this.#generation = generation
  }

  protected dial(backend: Backend): void {
    const address = addressBytes(backend)
    if (address) this.#command(Command.connect).setAddress(backend.family, address, backend.port).send()
    else this.failed(impossibleAddress(backend))
  }

  protected hangUp(): void {
    this.#command(Command.hangUp).send()
  }

  protected reset(): void {
    this.#command(Command.refuse).send()
  }

  protected end(): void {
    this.#command(Command.cut).send()
  }

  #command(kind: number): Rings {
    return this.#rings.command(kind, this.#slot, this.#generation)
  }
}

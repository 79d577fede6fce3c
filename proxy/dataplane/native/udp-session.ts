/** The datagrams of one UDP session, carried by the pump: commands to it, named by slot and generation. */
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import { UdpSession } from '../flow/udp-session.ts'
import { addressBytes, impossibleAddress } from './address.ts'
import type { PumpContext } from './pump-context.ts'
import { Command, type Rings } from './rings.ts'
import type { NativeUdpFrontend } from './udp-frontend.ts'

export class NativeSession extends UdpSession {
  readonly #rings: Rings
  readonly #slot: number
  readonly #generation: number

  constructor(
    { flows, rings }: PumpContext,
    frontend: NativeUdpFrontend,
    client: Client,
    slot: number,
    generation: number,
  ) {
    super(flows, frontend, client)
    this.#rings = rings
    this.#slot = slot
    this.#generation = generation
  }

  /** Whether an event with this generation is about this session, and not about an earlier one of the slot. */
  is(generation: number): boolean {
    return this.#generation === generation
  }

  protected openLink(backend: Backend): Error | undefined {
    const address = addressBytes(backend)
    if (!address) return impossibleAddress(backend)
    this.#command(Command.link).setAddress(backend.family, address, backend.port).send()
    return undefined
  }

  protected closeLink(): void {
    this.#command(Command.unlink).send()
  }

  protected forget(): void {
    this.#command(Command.forget).send()
  }

  #command(kind: number): Rings {
    return this.#rings.command(kind, this.#slot, this.#generation)
  }
}

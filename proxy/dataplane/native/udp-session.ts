/** The datagrams of one UDP session, carried by the pump: commands to it, named by slot and generation. */
import { constants } from 'node:os'
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import { UdpSession } from '../flow/udp-session.ts'
import { addressBytes, impossibleAddress } from './address.ts'
import { DatagramBridge } from './datagram-bridge.ts'
import type { PumpContext } from './pump-context.ts'
import { Command, type Rings } from './rings.ts'
import type { NativeUdpFrontend } from './udp-frontend.ts'

export class NativeSession extends UdpSession {
  readonly #rings: Rings
  readonly #slot: number
  readonly #generation: number
  /** While the backend is behind a gateway. */
  #bridge: DatagramBridge | undefined
  /** Whether the pump was told of the bridge. */
  #linked = false
  /** Why the way through the gateway has ended. */
  #failure: Error | undefined

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

  override linkEnded(error: Error | undefined, sent: number, received: number): void {
    const failure = this.#failure
    this.#closeBridge()
    super.linkEnded(failure ?? error, sent, received)
  }

  /** Datagrams were passed on lately. */
  moved(sent: number, received: number): void {
    this.context.sessions.active(this)
    this.carried(sent, received)
  }

  protected openLink(backend: Backend): Error | undefined {
    const { tunnels } = this.context
    if (tunnels?.carries(backend)) {
      this.#bridge = new DatagramBridge(
        tunnels,
        backend,
        this.client,
        (address, port) => {
          this.#linked = true
          this.#command(Command.link).setAddress(4, address, port).send()
        },
        (error, isRefused) => this.#bridgeFailed(error, isRefused),
      )
      return undefined
    }
    const address = addressBytes(backend)
    if (!address) return impossibleAddress(backend)
    this.#command(Command.link).setAddress(backend.family, address, backend.port).send()
    return undefined
  }

  protected closeLink(): void {
    if (this.#bridge && !this.#linked) return this.#neverLinked()
    this.#closeBridge()
    this.#command(Command.unlink).setError(0).send()
  }

  protected forget(): void {
    this.#closeBridge()
    this.#command(Command.forget).send()
  }

  /** The pump answers with the totals of its link, if it has one, and asks again for the datagram that was refused. */
  #bridgeFailed(error: Error, isRefused: boolean): void {
    this.#failure = error
    if (this.#linked)
      this.#command(Command.unlink)
        .setError(isRefused ? constants.errno.ECONNREFUSED : 0)
        .send()
    else this.#neverLinked()
  }

  /** The pump still waits for a link, and will not ask again. */
  #neverLinked(): void {
    this.linkEnded(undefined, 0, 0)
    this.asked()
  }

  #closeBridge(): void {
    this.#bridge?.close()
    this.#bridge = undefined
    this.#linked = false
    this.#failure = undefined
  }

  #command(kind: number): Rings {
    return this.#rings.command(kind, this.#slot, this.#generation)
  }
}

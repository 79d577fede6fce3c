/**
 * The bytes of one TCP connection, carried by the pump: commands to it, named by slot and generation. If its backend is behind a
 * gateway, the pump hands the client over once the tunnel's stream is open, and the tunnel carries the bytes.
 */
import type { Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import type { Client, CloseReason } from '../../model/flow.ts'
import { bytesOf } from '../../model/sockets/proxy-header.ts'
import type { CarriedBy, TunnelStream } from '../../model/tunnel/tunnels.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import { TcpConnection } from '../flow/tcp-connection.ts'
import { Tunnelled } from '../flow/tunnelled.ts'
import { addressBytes, impossibleAddress } from './address.ts'
import type { PumpContext } from './pump-context.ts'
import { Command, type Rings } from './rings.ts'

/** A dial through a tunnel: until its stream is open, then until the pump has handed the client over. */
type TunnelDial =
  | { readonly giveUp: () => void; readonly stream?: never }
  | { readonly giveUp?: never; readonly stream: TunnelStream }

/** The dial was given up because its time was over; the outcome reported is a timeout. */
const gaveUp = new Error('the dial took too long')

export class NativeConnection extends TcpConnection {
  #pump: PumpContext
  #slot: number
  #generation: number
  #tunnelDial: TunnelDial | undefined
  #tunnelled: Tunnelled | undefined
  /** The stream of a tunnel in the pump that carries it. */
  #carried: CarriedBy | undefined
  /** On its way to another pump; `cut`: to be cut once it is there. */
  #moving: 'open' | 'cut' | undefined

  constructor(pump: PumpContext, listener: ListenerState, client: Client, slot: number, generation: number) {
    super(pump.flows, listener, client)
    this.#pump = pump
    this.#slot = slot
    this.#generation = generation
  }

  /** That carries it, or did until it was sent to another. */
  get pump(): PumpContext {
    return this.#pump
  }

  get slot(): number {
    return this.#slot
  }

  /** Another pump carries it from now on. */
  arrived(pump: PumpContext, slot: number, generation: number): void {
    this.#pump = pump
    this.#slot = slot
    this.#generation = generation
    const isCut = this.#moving === 'cut'
    this.#moving = undefined
    if (isCut) this.#command(Command.cut).send()
  }

  /** Only of a connection that the pump has handed over. */
  override tick(now: number): void {
    const limit = this.#tunnelled?.tick(now)
    if (limit) this.cut(limit)
  }

  /** The pump has given up the client's socket for the tunnel. */
  handedOver(socket: Socket): void {
    const stream = this.#tunnelDial?.stream
    this.#tunnelDial = undefined
    socket.on('error', () => {})
    if (!stream) return void socket.resetAndDestroy()
    socket.setNoDelay(true)
    this.connected()
    this.#pump.handed.add(this)
    this.#tunnelled = new Tunnelled(this.context, this, socket, stream, (reason, sent, received) => {
      this.#pump.handed.delete(this)
      this.ended(reason, sent, received)
    })
  }

  override ended(reason: CloseReason | undefined, sent: number, received: number): void {
    this.#abandonTunnel()
    if (this.#moving && this.#carried) this.#pump.notSent(this.#carried.token)
    this.#carried?.over()
    this.#carried = undefined
    super.ended(reason, sent, received)
  }

  protected dial(backend: Backend): void {
    const { tunnels } = this.context
    if (tunnels?.carries(backend)) {
      this.#tunnelDial = { giveUp: tunnels.dial(backend, this.client, (error, stream) => this.#dialled(error, stream)) }
      return
    }
    const address = addressBytes(backend)
    if (address) {
      const command = this.#command(Command.connect).setAddress(backend.family, address, backend.port)
      const { ip, port } = this.frontend
      if (this.service.settings.sendProxy) command.setAnnounced(bytesOf(ip), port).send()
      else command.setUnannounced().send()
    } else this.failed(impossibleAddress(backend))
  }

  /** Once the stream is open, the connection stands: what is left is on this machine. */
  protected hangUp(): void {
    if (this.#tunnelDial?.stream) return
    if (!this.#tunnelDial) return this.#command(Command.hangUp).send()
    this.#abandonTunnel()
    this.failed(gaveUp)
  }

  protected reset(): void {
    this.#abandonTunnel()
    this.#command(Command.refuse).send()
  }

  protected end(reason: CloseReason): void {
    if (this.#tunnelled) this.#tunnelled.cut(reason)
    else if (this.#moving) this.#moving = 'cut'
    else this.#command(Command.cut).send()
  }

  #dialled(error: Error | undefined, stream: TunnelStream | undefined): void {
    this.#tunnelDial = undefined
    if (error) return this.failed(error)
    if (!stream) return
    if (stream.carried) return this.#join(stream.carried)
    this.#tunnelDial = { stream }
    this.#command(Command.handOver).send()
  }

  /** The tunnel is in this pump or in another one, which passes the bytes from now on. */
  #join(carried: CarriedBy): void {
    this.#carried = carried
    carried.taken()
    if (carried.pump !== this.#pump.index) {
      this.#moving = 'open'
      this.#pump.sent(carried.token, this)
    }
    const command = this.#command(Command.join).setToken(carried.token).setPump(carried.pump)
    const { ip, port } = this.frontend
    if (this.service.settings.sendProxy) command.setAnnounced(bytesOf(ip), port).send()
    else command.setUnannounced().send()
    this.connected()
  }

  #abandonTunnel(): void {
    this.#tunnelDial?.giveUp?.()
    this.#tunnelDial?.stream?.reset()
    this.#tunnelDial = undefined
  }

  #command(kind: number): Rings {
    return this.#pump.rings.command(kind, this.#slot, this.#generation)
  }
}

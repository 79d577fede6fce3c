/** Sockets that one process hands to its successor, with the flows on them. */
import type { SocketAddress } from '../address.ts'

/** A UDP session. Its client goes on with the same backend. */
export interface PassedSession {
  readonly client: SocketAddress
  /** The key of its backend. */
  readonly backend: string
  readonly answered: boolean
  /** Its connected socket; undefined where it stays with the process that opened it, which passes on the last replies. */
  readonly descriptor: number | undefined
}

/** A bound socket. Whoever has it owns its descriptors. */
export interface Passed {
  readonly descriptor: number
  readonly sessions: readonly PassedSession[]
}

export interface PassedSocket extends Passed, SocketAddress {
  /** `dns/UDP`, `dns/TCP`, `admin/TCP`, `gateway/TCP`, or the key of a frontend. */
  readonly name: string
}

/** What the addon does with descriptors. Numbers below 0 are -errno. */
export interface PassingCalls {
  /** Another descriptor of the same socket. */
  duplicate(descriptor: number): number
  /** The user of the process at the other end of a unix socket. */
  peerUser(descriptor: number): number
  /** How many of the first were sent, without waiting. */
  send(descriptor: number, passed: readonly number[]): number
  /** Connects to a unix socket, says `greeting`, and waits for so many descriptors. Blocks. */
  receive(path: string, greeting: string, count: number, timeoutMs: number): readonly number[] | number
  /** Sends by a UDP socket that is not read here. */
  sendTo(descriptor: number, bytes: Buffer, address: string, port: number): number
  /** A datagram to the service manager, with at most 200 descriptors. */
  notify(path: string, text: string, descriptors: readonly number[]): number
}

/** Sockets that were inherited and wait for those who want them. */
export class Inherited {
  #sockets: readonly PassedSocket[]

  constructor(sockets: readonly PassedSocket[] = []) {
    this.#sockets = sockets
  }

  /** Takes one out, if there is one at that address. Port 0: at any port. */
  take(name: string, { address, port }: SocketAddress): PassedSocket | undefined {
    return this.#take(one => one.name === name && one.address === address && (port === 0 || one.port === port))
  }

  has(name: string, { address, port }: SocketAddress): boolean {
    return this.#sockets.some(one => one.name === name && one.address === address && one.port === port)
  }

  /** A frontend's, if it fits: it may have a private port. */
  takeFrontend(key: string, fits: (bound: SocketAddress) => boolean = () => true): PassedSocket | undefined {
    return this.#take(one => one.name === key && fits(one))
  }

  /** Those that nobody has taken. */
  get left(): readonly PassedSocket[] {
    return this.#sockets
  }

  /** With every other name that it has. */
  #take(isIt: (socket: PassedSocket) => boolean): PassedSocket | undefined {
    const found = this.#sockets.find(isIt)
    if (found) this.#sockets = this.#sockets.filter(({ descriptor }) => descriptor !== found.descriptor)
    return found
  }
}

/** The descriptor of a socket of node:net or node:dgram, which has no public name; undefined when it is closed. */
export function descriptorOf(socket: object): number | undefined {
  const descriptor = handleOf(socket)?.fd
  return typeof descriptor === 'number' && descriptor >= 0 ? descriptor : undefined
}

type Handle = { readonly fd?: unknown } | null | undefined

/** node:dgram keeps its handle under a symbol; the property of the same name as in node:net is deprecated there. */
function handleOf(socket: object): Handle {
  const state = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  if (state === undefined) return (socket as { readonly _handle?: Handle })._handle
  return (socket as Record<symbol, { readonly handle?: Handle } | undefined>)[state]?.handle
}

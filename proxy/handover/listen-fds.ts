/** Sockets of the service manager: those that it has opened (sd_listen_fds(3)), which works without the addon, and those that it is to keep. */
import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { addressText, endpointText } from '../model/address.ts'
import type { PassedSocket, PassingCalls } from '../model/sockets/passing.ts'

const first = 3
/** TCP_LISTEN, as /proc/net/tcp prints it. */
const listens = '0A'
const tables = [
  ['tcp', 'TCP'],
  ['tcp6', 'TCP'],
  ['udp', 'UDP'],
  ['udp6', 'UDP'],
] as const

/** Where they are wanted is told by their addresses; one at an address that nobody wants is closed. */
export function listenFds(env: Readonly<Record<string, string | undefined>>, pid = process.pid): PassedSocket[] {
  if (env.LISTEN_PID !== String(pid)) return []
  const count = Math.min(Number(env.LISTEN_FDS) || 0, 10_000)
  const places = count > 0 ? boundPlaces() : new Map<string, Place>()
  return Array.from({ length: count }, (_, i) => first + i).flatMap(descriptor => {
    const place = places.get(inodeOf(descriptor))
    return place ? [{ name: place.name, address: place.address, port: place.port, descriptor, sessions: [] }] : []
  })
}

/**
 * Descriptors of the sockets of this process that clients come to, of the addresses in `names` (`127.0.0.1:80/TCP`). Each is another
 * descriptor of its socket, to be closed by the caller.
 */
export function boundSockets(
  names: ReadonlySet<string>,
  { duplicate }: Pick<PassingCalls, 'duplicate'>,
): { readonly name: string; readonly descriptor: number }[] {
  const places = boundPlaces()
  const found = new Map<string, number>()
  for (const text of readdirSync('/proc/self/fd')) {
    const place = places.get(inodeOf(Number(text)))
    if (!place?.isOpen || !names.has(place.name) || found.has(place.name)) continue
    const descriptor = duplicate(Number(text))
    if (descriptor < 0) continue
    // The number may mean another socket meanwhile.
    if (places.get(inodeOf(descriptor)) === place) found.set(place.name, descriptor)
    else closeSync(descriptor)
  }
  return [...found].map(([name, descriptor]) => ({ name, descriptor }))
}

interface Place {
  readonly name: string
  readonly address: string
  readonly port: number
  /** It listens, or is a UDP socket without a peer. */
  readonly isOpen: boolean
}

function inodeOf(descriptor: number): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1] ?? ''
  } catch {
    return ''
  }
}

/** By inode. */
function boundPlaces(): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const [table, protocol] of tables) {
    for (const line of linesOf(`/proc/self/net/${table}`)) {
      const [, local = '', peer = '', state = '', , , , , , inode = ''] = line.trim().split(/\s+/)
      const [hex = '', port = ''] = local.split(':')
      const isOpen = protocol === 'TCP' ? state === listens : /^0+:0000$/.test(peer)
      const place = { address: addressOf(hex), port: Number.parseInt(port, 16), isOpen }
      places.set(inode, { ...place, name: `${endpointText(place.address, place.port)}/${protocol}` })
    }
  }
  return places
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').trim().split('\n').slice(1)
  } catch {
    return []
  }
}

/** The kernel prints words of 32 bits in the machine's order. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  for (let i = 0; i < bytes.length; i += 4) bytes.subarray(i, i + 4).reverse()
  return bytes.length === 4 ? bytes.join('.') : addressText(bytes)
}
